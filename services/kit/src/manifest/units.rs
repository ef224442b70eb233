//! Durations and sizes in the notation of manifests.

/// Returns the seconds of a duration such as `5s`, `2m` or `1h`; at least 1.
pub fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.checked_mul(factor).filter(|seconds| *seconds > 0)
}

/// Returns the megabytes of a size such as `20mb` or `1gb`; at least 1.
pub fn megabytes(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = split(&lower)?;
    let factor = match unit {
        "mb" | "m" => 1,
        "gb" | "g" => 1024,
        _ => return None,
    };
    number.checked_mul(factor).filter(|size| *size > 0)
}

fn split(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(seconds("5s"), Some(5));
        assert_eq!(seconds("2m"), Some(120));
        assert_eq!(megabytes("20mb"), Some(20));
        assert_eq!(megabytes("1GB"), Some(1024));
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "5 parsecs",
            "99999999999s",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
            assert_eq!(megabytes(bad), None, "{bad}");
        }
    }
}
