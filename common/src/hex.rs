//! Bytes as lower-case hexadecimal digits.

/// The digits of some bytes, two for each.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
}

/// The bytes that these digits are, if they are lower-case digits of so many bytes.
pub fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_back() {
        let all: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).expect("a byte"));
        assert!(encode(&all).starts_with("000102") && encode(&all).ends_with("fdfeff"));
        assert_eq!(decode(&encode(&all)), Some(all));
        assert_eq!((encode(&[]), decode("")), (String::new(), Some([])));
    }

    #[test]
    fn what_is_no_such_number() {
        for bad in ["", "00", "000000", "0G00", "AB00", "+100", "\u{e9}00"] {
            assert_eq!(decode::<2>(bad), None, "{bad}");
        }
    }
}
