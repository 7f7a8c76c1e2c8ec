//! Addresses whose last octet is not forbidden, by arithmetic: of every 256 numbers the same ones are left, so that
//! counting them and finding the n-th is a division, however many there are.

/// The last octets that are left when some are forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Octets {
    /// In order; fewer than 256.
    allowed: Vec<u8>,
}

impl Octets {
    /// What is left without these; `None` if they forbid nothing.
    pub(super) fn without(forbidden: &[u8]) -> Option<Self> {
        let allowed: Vec<u8> = (0..=u8::MAX).filter(|octet| !forbidden.contains(octet)).collect();
        (!forbidden.is_empty()).then_some(Self { allowed })
    }

    /// Whether the number is left.
    pub(super) fn has(&self, number: u128) -> bool {
        self.allowed.binary_search(&last_octet(number)).is_ok()
    }

    /// How many numbers are left between two, both included.
    pub(super) fn between(&self, first: u128, last: u128) -> u128 {
        self.up_to(last) - self.below(first)
    }

    /// How many numbers less than this one are left.
    pub(super) fn below(&self, number: u128) -> u128 {
        self.up_to(number) - u128::from(self.has(number))
    }

    /// The number that has so many of those that are left below it. Nothing is left if all are forbidden.
    pub(super) fn at(&self, below: u128) -> Option<u128> {
        let count = self.allowed.len() as u128;
        let (chunk, place) = (below.checked_div(count)?, below.checked_rem(count)?);
        let octet = self.allowed.get(usize::try_from(place).ok()?)?;
        Some(chunk << 8 | u128::from(*octet))
    }

    fn up_to(&self, number: u128) -> u128 {
        let octet = last_octet(number);
        let of_last_chunk = self.allowed.partition_point(|allowed| *allowed <= octet);
        (number >> 8) * self.allowed.len() as u128 + of_last_chunk as u128
    }
}

fn last_octet(number: u128) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_finding_are_inverse() {
        let forbidden: Vec<u8> = (0..=255).filter(|octet| octet % 3 == 0).collect();
        let octets = Octets::without(&forbidden).expect("some are forbidden");
        let left: Vec<u128> = (0..1_000_u128).filter(|number| !(number % 256).is_multiple_of(3)).collect();
        for (place, number) in left.iter().enumerate() {
            assert_eq!((octets.below(*number), octets.at(place as u128)), (place as u128, Some(*number)));
        }
        assert_eq!(octets.between(0, 999), left.len() as u128);
        assert_eq!(octets.between(3, 3), 0);
        let most = octets.below(u128::MAX - 1);
        assert_eq!(octets.at(most), Some(u128::MAX - 1));
    }

    #[test]
    fn all_or_nothing() {
        assert_eq!(Octets::without(&[]), None);
        let none = Octets::without(&(0..=255).collect::<Vec<u8>>()).expect("all are forbidden");
        assert_eq!((none.between(0, u128::MAX), none.at(0)), (0, None));
    }
}
