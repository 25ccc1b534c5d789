//! Sizes and numbers within their ranges.

use std::ops::RangeInclusive;

use super::error::ConfigError;

/// Checks a number.
pub(super) fn number(
    flag: &'static str,
    given: Option<i64>,
    range: RangeInclusive<i64>,
    default: i64,
) -> Result<i64, ConfigError> {
    match given {
        None => Ok(default),
        Some(given) if range.contains(&given) => Ok(given),
        Some(given) => Err(outside(flag, given.to_string(), &range)),
    }
}

/// Bytes, of a size as `512MiB` that is within a range of bytes.
pub(super) fn size(
    flag: &'static str,
    given: Option<&str>,
    range: RangeInclusive<i64>,
    default: i64,
) -> Result<i64, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    match bytes(given) {
        None => Err(ConfigError::Size { flag, given: given.to_owned() }),
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(outside(flag, given.to_owned(), &range)),
    }
}

fn bytes(given: &str) -> Option<i64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1_i64)];
    units.iter().find_map(|(unit, bytes)| {
        let number: u64 = given.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
        i64::try_from(number).ok()?.checked_mul(*bytes)
    })
}

fn outside(flag: &'static str, given: String, range: &RangeInclusive<i64>) -> ConfigError {
    ConfigError::Range { flag, given, least: *range.start(), most: *range.end() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |given: &str| size("--size", Some(given), 1..=i64::MAX, 7);
        for (given, bytes) in [("65536", 65_536), ("1MiB", 1 << 20), ("2 GiB", 2 << 30)] {
            assert_eq!(size(given).unwrap(), bytes);
        }
        for given in ["", "MiB", "-1", "1.5GiB", "1mb", "99999999999999999GiB"] {
            assert!(matches!(size(given), Err(ConfigError::Size { .. })), "{given}");
        }
        assert!(matches!(size("0"), Err(ConfigError::Range { .. })));
    }

    #[test]
    fn what_is_outside_is_told_what_would_be_inside() {
        let error = number("--number", Some(11), 1..=10, 5).unwrap_err();
        assert_eq!(error.to_string(), "--number 11: expected 1 to 10");
        assert_eq!(number("--number", None, 1..=10, 5).unwrap(), 5);
    }
}
