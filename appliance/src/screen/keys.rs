//! Bytes of a terminal to keys.
//!
//! The Linux console sends `ESC [ [ A` for F1; xterm and what runs over serial
//! lines send `ESC O P`. A lone ESC is the key itself: it is known as such when
//! nothing follows in the same read. (Sources: console_codes(4), XTerm Control
//! Sequences.)

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A function key, 1 to 12.
    F(u8),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Tab or arrow down.
    Next,
    /// Shift-Tab or arrow up.
    Previous,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Backspace.
    Erase,
    /// A printable character.
    Char(char),
}

/// The keys in one read of a terminal.
pub fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        if first != 0x1b {
            bytes = rest;
            keys.extend(plain(first));
            continue;
        }
        let (key, used) = escape(rest);
        keys.extend(key);
        bytes = &rest[used..];
    }
    keys
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Enter),
        b'\t' => Some(Key::Next),
        0x7f | 0x08 => Some(Key::Erase),
        0x20..=0x7e => Some(Key::Char(char::from(byte))),
        _ => None,
    }
}

/// What follows an ESC, and how many bytes of it belong to the key.
fn escape(rest: &[u8]) -> (Option<Key>, usize) {
    match rest {
        [b'[', b'[', letter @ b'A'..=b'E', ..] => (Some(Key::F(letter - b'A' + 1)), 3),
        [b'O', letter @ b'P'..=b'S', ..] => (Some(Key::F(letter - b'P' + 1)), 2),
        [b'[' | b'O', letter @ (b'A'..=b'D' | b'Z'), ..] => {
            let key = match letter {
                b'A' | b'Z' => Key::Previous,
                b'B' => Key::Next,
                b'C' => Key::Right,
                _ => Key::Left,
            };
            (Some(key), 2)
        }
        [b'[', digits @ ..] => numbered(digits),
        _ => (Some(Key::Escape), 0),
    }
}

/// `ESC [ number ~`.
fn numbered(digits: &[u8]) -> (Option<Key>, usize) {
    let length = digits
        .iter()
        .take_while(|b| b.is_ascii_digit() || **b == b';')
        .count();
    let ended = digits.get(length) == Some(&b'~');
    let number = std::str::from_utf8(&digits[..length])
        .ok()
        .and_then(|text| text.parse::<u8>().ok());
    let key = match number.filter(|_| ended) {
        Some(n @ 11..=15) => Some(Key::F(n - 10)),
        Some(n @ 17..=21) => Some(Key::F(n - 11)),
        Some(n @ 23..=24) => Some(Key::F(n - 12)),
        _ => None,
    };
    (key, 1 + length + usize::from(digits.len() > length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_the_keys_of_consoles_and_terminals() {
        assert_eq!(
            parse(b"\x1b[[A\x1bOQ\x1b[21~"),
            [Key::F(1), Key::F(2), Key::F(10)]
        );
        assert_eq!(
            parse(b"a\r\x7f\t"),
            [Key::Char('a'), Key::Enter, Key::Erase, Key::Next]
        );
        assert_eq!(parse(b"\x1b"), [Key::Escape]);
        assert_eq!(
            parse(b"\x1b[A\x1b[B\x1b[Z"),
            [Key::Previous, Key::Next, Key::Previous]
        );
        assert_eq!(parse(b"\x1b[99;5~x"), [Key::Char('x')]);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(parse(&bytes).len() <= bytes.len());
        }
    }
}
