//! gRPC-Web on the wire: the trailers are a frame of the body, and the body may be base64.
//!
//! The format is that of gRPC's `PROTOCOL-WEB.md`. The bytes come from outside, so no input panics,
//! and input that cannot be read counts as absent.

use std::io::IoSlice;

use base64::Engine;
use bytes::Buf;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::wire::BASE64;

/// Longer trailers are not read. It is twice the limit that gRPC advises for all metadata of a
/// response.
const MAX_TRAILERS: usize = 16 * 1024;

/// The bit in the first byte of a frame that marks trailers.
const TRAILERS: u8 = 0x80;
/// The bit in the same byte that marks a compressed payload.
const COMPRESSED: u8 = 1;

/// The form of gRPC that a `content-type` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// gRPC itself, or an unknown type.
    Grpc,
    /// gRPC-Web, binary.
    Web,
    /// gRPC-Web in base64.
    WebText,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let said = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let said = said.unwrap_or_default();
        // Without the format of the messages (`+proto`) and without parameters.
        let end = said.iter().position(|byte| b"+; \t".contains(byte));
        let name = &said[..end.unwrap_or(said.len())];
        if name.eq_ignore_ascii_case(b"application/grpc-web") {
            Self::Web
        } else if name.eq_ignore_ascii_case(b"application/grpc-web-text") {
            Self::WebText
        } else {
            Self::Grpc
        }
    }

    /// Returns the `content-type` of an answer without a message.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            // With the format, because some clients accept no other type.
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }
}

/// Follows the frames of a body on its way to the reader, up to the frame of the trailers. It keeps
/// only that frame.
#[derive(Debug)]
pub(super) struct Frames {
    /// In base64, up to three characters that do not make a byte yet.
    text: Option<Vec<u8>>,
    prefix: [u8; 5],
    /// How many bytes of the prefix came.
    known: usize,
    /// How many bytes of the frame are still to come.
    left: u64,
    /// The trailers, as far as they came.
    block: Vec<u8>,
    trailers: Option<HeaderMap>,
    message_came: bool,
    /// Whether a part could not be read, so that the rest cannot be read either.
    lost: bool,
}

impl Frames {
    /// Returns a reader for a body of this form, if its trailers are a part of the body.
    pub(super) fn of(form: Form) -> Option<Box<Self>> {
        let text = match form {
            Form::Grpc => return None,
            Form::Web => None,
            Form::WebText => Some(Vec::new()),
        };
        Some(Box::new(Self {
            text,
            prefix: [0; 5],
            known: 0,
            left: 0,
            block: Vec::new(),
            trailers: None,
            message_came: false,
            lost: false,
        }))
    }

    /// Returns the trailers, once all of them came.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Returns whether a whole message came.
    pub(super) fn message_came(&self) -> bool {
        self.message_came
    }

    /// Returns whether the trailers may have come and could not be read.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn saw(&mut self, data: &impl Buf) {
        if self.lost {
            return;
        }
        // A frame has more than one slice only if it is a chain of buffers.
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        let mut seen = 0;
        for slice in &slices[..filled] {
            seen += slice.len();
            match self.text {
                Some(_) => self.decode(slice),
                None => self.eat(slice),
            }
        }
        // Bytes that a frame does not show without being consumed are a gap.
        self.lost |= seen < data.remaining();
    }

    /// Decodes four characters at a time. Each frame may be padded by itself, so padding can stand
    /// in the middle of the body.
    fn decode(&mut self, characters: &[u8]) {
        for character in characters {
            let Some(text) = &mut self.text else { return };
            text.push(*character);
            if text.len() < 4 {
                continue;
            }
            let mut bytes = [0; 3];
            let decoded = BASE64.decode_slice(&*text, &mut bytes);
            text.clear();
            match decoded {
                Ok(length) => self.eat(&bytes[..length]),
                Err(_) => self.lost = true,
            }
        }
    }

    fn eat(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first()
            && self.trailers.is_none()
            && !self.lost
        {
            if let Some(unknown) = self.prefix.get_mut(self.known) {
                *unknown = *first;
                self.known += 1;
                bytes = &bytes[1..];
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length).into();
            } else {
                let length = bytes.len().min(self.left.try_into().unwrap_or(usize::MAX));
                let (ours, rest) = bytes.split_at(length);
                self.left -= length as u64;
                bytes = rest;
                if self.prefix[0] & TRAILERS != 0 {
                    self.keep(ours);
                }
            }
            if self.known == self.prefix.len() && self.left == 0 {
                self.frame_ends();
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.block.len() + bytes.len() > MAX_TRAILERS {
            self.lost = true;
            self.block = Vec::new();
        } else {
            self.block.extend_from_slice(bytes);
        }
    }

    fn frame_ends(&mut self) {
        self.known = 0;
        if self.lost {
            return;
        }
        match (self.prefix[0] & TRAILERS, self.prefix[0] & COMPRESSED) {
            (0, _) => self.message_came = true,
            (_, 0) => self.trailers = Some(fields(&self.block)),
            // Compressed in a coding that only the reader knows.
            _ => self.lost = true,
        }
    }
}

/// Parses trailers, which are written as header fields of HTTP/1.
fn fields(block: &[u8]) -> HeaderMap {
    let lines = block.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name.trim_ascii()).ok()?;
        let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
        Some((name, value))
    });
    // Not `collect`, which keeps only the last field of each name.
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        // Cannot panic: a map holds 32,768 names, more than fit into `MAX_TRAILERS`.
        map.append(name, value);
    }
    map
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::{base::property_cases::cases, http::calls::answer_prefix::tests::Shy};

    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[flags][..], &length, payload].concat()
    }

    fn form(content_type: &str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        Form::of(&headers)
    }

    fn binary() -> Box<Frames> {
        Frames::of(Form::Web).unwrap()
    }

    #[test]
    fn the_form_is_what_the_content_type_says() {
        for (said, expected) in [
            ("application/grpc-web", Form::Web),
            ("application/grpc-web+proto", Form::Web),
            ("APPLICATION/gRPC-Web+json", Form::Web),
            ("application/grpc-web; charset=utf-8", Form::Web),
            ("application/grpc-web-text", Form::WebText),
            ("application/grpc-web-text+proto", Form::WebText),
            ("application/grpc", Form::Grpc),
            ("application/grpc+proto", Form::Grpc),
            ("application/grpc-website", Form::Grpc),
            ("text/html", Form::Grpc),
            ("", Form::Grpc),
        ] {
            assert_eq!(form(said), expected, "{said}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Grpc);
        for each in [Form::Grpc, Form::Web, Form::WebText] {
            assert_eq!(form(each.content_type().to_str().unwrap()), each);
        }
    }

    #[test]
    fn trailers_are_read_as_fields_of_http_1() {
        let block = b"grpc-status:14\r\ngrpc-message: down: now \r\nX-Twice: a\r\nx-twice:b\nno colon\r\n: c\r\n\0:d\r\n";
        let mut frames = binary();
        frames.saw(&&*frame(TRAILERS, block));
        let trailers = frames.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(trailers["grpc-message"], "down: now");
        let twice: Vec<_> = trailers.get_all("x-twice").iter().collect();
        assert_eq!(twice, ["a", "b"]);
        assert_eq!(trailers.len(), 4);
    }

    #[test]
    fn what_cannot_be_read_is_lost_and_no_message() {
        let compressed = frame(TRAILERS | COMPRESSED, b"grpc-status:0\r\n");
        let long = frame(TRAILERS, &vec![b'a'; MAX_TRAILERS + 1]);
        for lost in [compressed, long] {
            let mut frames = binary();
            frames.saw(&&*lost);
            assert!(frames.is_lost() && frames.trailers().is_none() && !frames.message_came());
            assert!(frames.block.capacity() <= MAX_TRAILERS);
        }
        let mut frames = binary();
        frames.saw(&Shy(b"\0\0\0\0\0"));
        assert!(frames.is_lost());
        let mut frames = Frames::of(Form::WebText).unwrap();
        frames.saw(&&b"AAAA****"[..]);
        assert!(frames.is_lost());
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn trailers_are_found_behind_messages_however_the_body_is_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            cuts in proptest::collection::vec((0_usize..20, 0_usize..20), 0..40),
            form in prop_oneof![Just(Form::Web), Just(Form::WebText)],
        ) {
            let mut pieces: Vec<_> = messages.iter().map(|message| frame(0, message)).collect();
            pieces.push(frame(TRAILERS, b"grpc-status:5\r\n"));
            // In base64 each frame is encoded by itself.
            if form == Form::WebText {
                pieces = pieces.iter().map(|piece| STANDARD.encode(piece).into_bytes()).collect();
            }
            let first = pieces[0].len();
            let whole = pieces.concat();
            let mut frames = Frames::of(form).unwrap();
            let mut came = 0;
            for (one, other) in cuts.into_iter().chain([(whole.len(), 0)]) {
                let one = &whole[came..whole.len().min(came + one)];
                came += one.len();
                let other = &whole[came..whole.len().min(came + other)];
                came += other.len();
                frames.saw(&one.chain(other));
                // The last characters may be padding, which carries no byte.
                if messages.is_empty() || came < first.saturating_sub(3) {
                    prop_assert!(!frames.message_came());
                } else if came >= first {
                    prop_assert!(frames.message_came());
                }
                if came < whole.len() - 3 {
                    prop_assert!(frames.trailers().is_none());
                }
                prop_assert!(!frames.is_lost());
            }
            prop_assert_eq!(&frames.trailers().unwrap()["grpc-status"], "5");
        }

        #[test]
        fn whatever_the_partner_sends_nothing_panics_and_little_is_kept(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20),
            form in prop_oneof![Just(Form::Web), Just(Form::WebText)],
        ) {
            let mut frames = Frames::of(form).unwrap();
            for piece in pieces {
                frames.saw(&&*piece);
                prop_assert!(frames.block.len() <= MAX_TRAILERS);
            }
        }
    }
}
