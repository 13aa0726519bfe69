//! Paths that two parts of a stack might read differently.

/// Whether two parts of a stack might read the path differently. What is ambiguous is not exempt.
#[inline]
pub(in crate::http) fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return true; // `*`, or the authority of a CONNECT
    }
    // Nearly every path is plain, and every call with an exemption by path comes through here.
    !is_plain(bytes) && is_ambiguous_somewhere(path)
}

/// The same, of every byte.
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
    has_escapes && has_odd_escape(path)
}

/// As many bytes as processors compare at once.
const AT_ONCE: usize = 16;

/// Whether nothing in the path could make it ambiguous: no byte that has a meaning but `/`, and no two of those together.
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
    // Each byte with the one before it.
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
    // The last ones overlap with what they follow.
    if let (Some(after), Some(before)) = (after.last_chunk(), before.last_chunk()) {
        look(after, before);
    }
    !odd.into_iter().fold(false, |any, odd| any | odd)
}

/// Whether a byte might make a path ambiguous by itself.
#[inline]
fn is_odd(byte: u8) -> bool {
    // Without a branch in it.
    (byte == b';') | (byte == b'\\') | (byte == 0) | (byte == b'%') | (byte == b'.')
}

/// The same, after this one: two slashes together do it as well.
#[inline]
fn is_odd_after(byte: u8, before: u8) -> bool {
    is_odd(byte) | ((byte == b'/') & (before == b'/'))
}

/// Whether something stands percent-encoded that another part of a stack might act upon once it has
/// decoded it: a separator, another `%`, a control character, an overlong form of such a one; or
/// whether a `%` begins no escape, which each part mends in its own way.
fn has_odd_escape(path: &str) -> bool {
    let mut before = None;
    path.split('%').skip(1).any(|after| {
        let Some(byte) = after.as_bytes().get(..2).and_then(from_hex) else {
            return true;
        };
        let odd = match byte {
            b'.' | b'/' | b'\\' | b';' | b'%' | b'?' | b'#' => true,
            // UTF-8 never has these two; lenient decoders take %c0%af for a slash.
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

        /// What the quick look lets pass, the thorough one lets pass.
        #[test]
        fn a_plain_path_is_not_ambiguous(path in "/([a-z/.;%\\\\\\x00]|/[a-z]{1,9}|%2[eEfF])*") {
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
        for odd in ["/a.b", "//", "/a//b", "/%41", "/;", "/\\", "/\0"] {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
            // Wherever it stands, however long the path is.
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
