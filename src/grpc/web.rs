//! gRPC-Web on the wire: the trailers are a frame of the body, and the body may be base64.
//!
//! By the protocol's own text, gRPC's `PROTOCOL-WEB.md`. What is read here comes from outside: nothing panics, and what makes
//! no sense is as if it were not there.

use std::io::IoSlice;

use base64::Engine;
use bytes::Buf;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::wire::BASE64;

/// Trailers longer than this are not read: twice what gRPC advises for all metadata of a response.
const MAX_TRAILERS: usize = 16 * 1024;

/// In the first byte of a frame: these are trailers, and no message.
const TRAILERS: u8 = 0x80;
/// In the same byte: what follows is compressed.
const COMPRESSED: u8 = 1;

/// What of gRPC it is that a `content-type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// gRPC itself, or nothing that is known.
    Grpc,
    Web,
    /// The same in base64.
    WebText,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let said = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let said = said.unwrap_or_default();
        // Up to the message's own format, `+proto`, and parameters.
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

    /// The `content-type` of an answer without a message.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            // With the format: there are clients who take no other.
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }
}

/// Follows the frames of a body on its way to the reader, up to the one that bears the trailers. Only that one is kept.
#[derive(Debug)]
pub(super) struct Frames {
    /// Of base64, up to three characters that make no byte yet.
    text: Option<Vec<u8>>,
    prefix: [u8; 5],
    /// How much of the prefix is known.
    known: usize,
    /// How much of the frame is to come.
    left: u64,
    block: Vec<u8>,
    trailers: Option<HeaderMap>,
    message_came: bool,
    /// Whether something could not be read, and what follows makes no sense therefore.
    lost: bool,
}

impl Frames {
    /// Of a body in this form, if its trailers are a part of it.
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

    /// The trailers, once all of them came.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Whether a whole message came.
    pub(super) fn message_came(&self) -> bool {
        self.message_came
    }

    /// Whether the trailers may have been there, and could not be read.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn saw(&mut self, data: &impl Buf) {
        if self.lost {
            return;
        }
        // More than one slice only where a frame is put together of several buffers.
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
        // What a frame does not show without being taken from the reader is a gap.
        self.lost |= seen < data.remaining();
    }

    /// Four characters at a time: each frame may be padded by itself, so that padding stands amid the body.
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
            // In a coding that only the reader knows.
            _ => self.lost = true,
        }
    }
}

/// Trailers as HTTP/1 writes header fields.
fn fields(block: &[u8]) -> HeaderMap {
    let lines = block.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name.trim_ascii()).ok()?;
        let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
        Some((name, value))
    });
    // `collect` would keep the last of a name only.
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        // A map holds 32,768 names, and so many do not fit.
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
            // In base64 each frame is written by itself.
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
                // With its padding, of which the last characters may say nothing any more.
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
