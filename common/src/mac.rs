//! MAC addresses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A MAC address of 48 bits. It is read with colons or hyphens between the octets, with dots between groups of four
/// digits, or without anything, and written with colons in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// A text is no MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a MAC address: six octets in hexadecimal, as 00:16:3e:0a:0b:0c")]
pub struct BadMac;

impl FromStr for MacAddress {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        // The digits of a group, and what is between groups.
        let forms: [(usize, Option<u8>); 4] = [(2, Some(b':')), (2, Some(b'-')), (4, Some(b'.')), (12, None)];
        let digits = forms.iter().find_map(|(group, between)| digits(text.as_bytes(), *group, *between));
        let digits = digits.ok_or(BadMac)?;
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = pair[0] << 4 | pair[1];
        }
        Ok(Self(octets))
    }
}

/// The twelve digits of a text in groups.
fn digits(text: &[u8], group: usize, between: Option<u8>) -> Option<[u8; 12]> {
    let mut found = [0; 12];
    let mut rest = text;
    for (place, digit) in found.iter_mut().enumerate() {
        if place > 0 && place % group == 0 {
            rest = rest.split_first().filter(|(first, _)| Some(**first) == between)?.1;
        }
        let (first, behind) = rest.split_first()?;
        *digit = u8::try_from(char::from(*first).to_digit(16)?).ok()?;
        rest = behind;
    }
    rest.is_empty().then_some(found)
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let before = if place == 0 { "" } else { ":" };
            write!(f, "{before}{byte:02x}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for MacAddress {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$";
        crate::openapi::text("a MAC address", pattern, "00:16:3e:0a:0b:0c", 17)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for MacAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        for text in ["00:16:3e:0A:0b:0c", "00-16-3e-0a-0b-0c", "0016.3e0a.0b0c", "00163e0a0b0c"] {
            assert_eq!(text.parse::<MacAddress>().expect(text).to_string(), "00:16:3e:0a:0b:0c");
        }
        for bad in [
            "",
            "00",
            "00:16:3e:0a:0b",
            "00:16:3e:0a:0b:0c:0d",
            "00:16:3e:0a:0b:0g",
            "0:16:3e:0a:0b:0c",
            "00:16-3e:0a:0b:0c",
            "0016:3e0a:0b0c",
            "+0163e0a0b0c",
            "é",
        ] {
            assert_eq!(bad.parse::<MacAddress>(), Err(BadMac), "{bad}");
        }
    }
}
