//! Paths that two parts of a stack may interpret differently.

use percent_encoding::percent_decode_str;

/// Returns whether two parts of a stack may interpret the path differently.
///
/// An ambiguous path is never exempt.
#[inline]
pub(in crate::http) fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return true; // `*`, or the authority of a CONNECT
    }
    // Every call with an exemption by path is checked here, and nearly every path is plain.
    !is_plain(bytes) && is_ambiguous_somewhere(path)
}

/// Returns the same, by a look at every byte.
#[inline(never)]
fn is_ambiguous_somewhere(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut has_escapes = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b';' | b'\\' | b'\0' => return true,
            b'%' => has_escapes = true,
            b'/' => match &bytes[at + 1..] {
                [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => {
                    return true;
                }
                _ => {}
            },
            _ => {}
        }
    }
    (has_escapes && has_odd_escape(path)) || has_lookalike(path)
}

/// Returns whether the path has a character outside ASCII that some readers take for a separator, a
/// dot, or another character with a meaning: its compatibility form, or the best fit of a code
/// page.
fn has_lookalike(path: &str) -> bool {
    let mut before = (0, 0);
    percent_decode_str(path).any(|byte| {
        let (first, second) = before;
        before = (second, byte);
        // All of them take three bytes in UTF-8.
        if first & 0xf0 != 0xe0 || second & 0xc0 != 0x80 || byte & 0xc0 != 0x80 {
            return false;
        }
        let bits = |byte: u8, mask: u8| u32::from(byte & mask);
        let c = bits(first, 0xf) << 12 | bits(second, 0x3f) << 6 | bits(byte, 0x3f);
        matches!(
            c,
            // Leaders and an ellipsis; fraction slash; question marks; `a/c`, `a/s`, `c/o`, `c/u`.
            0x2024..=0x2026 | 0x2044 | 0x2047..=0x2049 | 0x2100 | 0x2101 | 0x2105 | 0x2106
            // Division, set minus, and big slashes.
            | 0x2215 | 0x2216 | 0x29f5 | 0x29f8 | 0x29f9
            // Vertical, small and full-width forms of `. ; ? # \ % /`.
            | 0xfe19 | 0xfe30 | 0xfe52 | 0xfe54 | 0xfe56 | 0xfe5f | 0xfe68 | 0xfe6a
            | 0xff03 | 0xff05 | 0xff0e | 0xff0f | 0xff1b | 0xff1f | 0xff3c
        )
    })
}

/// The number of bytes that [`is_plain`] compares in one step.
const AT_ONCE: usize = 16;

/// Returns whether the path is certainly not ambiguous: it has no byte with a meaning other than
/// `/`, and no two slashes together.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let mut padded = [b'a'; AT_ONCE + 1];
    let path = if path.len() < padded.len() {
        padded[..path.len()].copy_from_slice(path);
        &padded
    } else {
        path
    };
    let [first, after @ ..] = path else {
        return true;
    };
    // Each byte is compared together with the byte before it.
    let before = &path[..after.len()];
    let mut odd = [is_odd(*first); AT_ONCE];
    let mut look = |after: &[u8; AT_ONCE], before: &[u8; AT_ONCE]| {
        for (odd, (byte, before)) in odd.iter_mut().zip(after.iter().zip(before)) {
            *odd |= is_odd_after(*byte, *before);
        }
    };
    for (after, before) in after.as_chunks().0.iter().zip(before.as_chunks().0) {
        look(after, before);
    }
    // The last chunk overlaps with the chunk before it.
    if let (Some(after), Some(before)) = (after.last_chunk(), before.last_chunk()) {
        look(after, before);
    }
    !odd.into_iter().fold(false, |any, odd| any | odd)
}

/// Returns whether a byte by itself may make a path ambiguous.
#[inline]
fn is_odd(byte: u8) -> bool {
    // `|` and not `||`: no branch per byte.
    (byte == b';') | (byte == b'\\') | (byte == 0) | (byte == b'%') | (byte == b'.') | (byte > 0x7f)
}

/// Returns the same for a byte after `before`: two slashes together are ambiguous too.
#[inline]
fn is_odd_after(byte: u8, before: u8) -> bool {
    is_odd(byte) | ((byte == b'/') & (before == b'/'))
}

/// Returns whether the path has an escape that two parts of a stack may interpret differently.
///
/// Such an escape decodes to a separator, to `%`, to a control character, or to an overlong form of
/// one of them. A `%` that begins no escape counts too, because parts repair it in different ways.
fn has_odd_escape(path: &str) -> bool {
    let mut before = None;
    path.split('%').skip(1).any(|after| {
        let Some(byte) = after.as_bytes().get(..2).and_then(from_hex) else {
            return true;
        };
        let odd = match byte {
            b'.' | b'/' | b'\\' | b';' | b'%' | b'?' | b'#' => true,
            // These two never occur in UTF-8. Lenient decoders read %c0%af as a slash.
            0xc0 | 0xc1 => true,
            0x80..0xa0 if before == Some(0xe0) => true,
            0x80..0x90 if before == Some(0xf0) => true,
            _ => byte.is_ascii_control(),
        };
        before = (after.len() == 2).then_some(byte);
        odd
    })
}

fn from_hex(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |byte, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(byte << 4 | digit as u8)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

    proptest! {
        #![proptest_config(cases(2_000))]

        /// A path that passes the quick check passes the thorough one.
        #[test]
        fn a_plain_path_is_not_ambiguous(path in "/([a-z/.;%\\\\\\x00\u{e9}\u{ff0f}\u{2215}]|/[a-z]{1,9}|%2[eEfF]|%ef%bc%8f)*") {
            if is_plain(path.as_bytes()) {
                prop_assert!(!is_ambiguous_somewhere(&path), "{path}");
            }
        }
    }

    #[test]
    fn what_may_be_ambiguous_is_not_plain() {
        for plain in ["/", "/v1/invoices/7", "/a/"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for odd in [
            "/a.b",
            "//",
            "/a//b",
            "/%41",
            "/;",
            "/\\",
            "/\0",
            "/\u{ff0f}",
        ] {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
            // At every position, in paths of many lengths.
            for (before, after) in
                (0..40).flat_map(|before| (0..40).map(move |after| (before, after)))
            {
                let path = format!("{}{odd}{}", "a".repeat(before), "a".repeat(after));
                assert!(!is_plain(path.as_bytes()), "{path}");
            }
        }
        for length in 0..80 {
            assert!(is_plain("a".repeat(length).as_bytes()), "{length}");
        }
    }
}
