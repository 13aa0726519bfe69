//! The first message of a stream.

use std::io::IoSlice;

use bytes::Buf;

/// The length of the prefix of a message: one byte for compression, four bytes for the length.
const PREFIX: usize = 5;

/// Measures how much of a body's first message came.
///
/// It waits for the whole message and not for its first byte, for two reasons. The first message of
/// a stream is often its largest: a snapshot, followed by changes. And a proxy's page in place of
/// the message is no message, although it has bytes.
#[derive(Debug, Default)]
pub(super) struct FirstMessage {
    prefix: [u8; PREFIX],
    /// How many bytes of the prefix came.
    known: usize,
    came: u64,
}

impl FirstMessage {
    pub(super) fn saw(&mut self, data: &impl Buf) {
        // A frame has more than one slice only if it is a chain of buffers.
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        for byte in slices[..filled].iter().flat_map(|slice| slice.iter()) {
            let Some(unknown) = self.prefix.get_mut(self.known) else {
                break;
            };
            *unknown = *byte;
            self.known += 1;
        }
        self.came = self.came.saturating_add(data.remaining() as u64);
    }

    pub(super) fn is_whole(&self) -> bool {
        if self.known < PREFIX {
            // The frame holds more than it shows without being consumed. Its length cannot be read,
            // so the message counts.
            return self.came > self.known as u64;
        }
        let [_, length @ ..] = self.prefix;
        self.came >= PREFIX as u64 + u64::from(u32::from_be_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::calls::answer_prefix::tests::Shy;

    proptest! {
        #[test]
        fn a_message_is_whole_when_its_last_byte_came_however_it_is_cut(
            length in 0_u32..600,
            more in 0_usize..20,
            cuts in proptest::collection::vec((0_usize..40, 0_usize..40), 0..60),
        ) {
            let mut wire = vec![1];
            wire.extend(length.to_be_bytes());
            let whole = wire.len() + length as usize;
            // The bytes that follow begin like a message too.
            wire.resize(whole + more, 0xff);
            let mut first = FirstMessage::default();
            let mut came = 0;
            prop_assert!(!first.is_whole());
            for (one, other) in cuts {
                let one = &wire[came..wire.len().min(came + one)];
                came += one.len();
                let other = &wire[came..wire.len().min(came + other)];
                came += other.len();
                first.saw(&one.chain(other));
                prop_assert_eq!(first.is_whole(), came >= whole, "{} of {}", came, whole);
            }
        }
    }

    #[test]
    fn what_a_frame_does_not_show_counts_as_a_message() {
        let mut first = FirstMessage::default();
        first.saw(&Shy(b"\0"));
        assert!(!first.is_whole(), "nothing is hidden");
        first.saw(&Shy(b"\0\0\0"));
        assert!(first.is_whole());
    }
}
