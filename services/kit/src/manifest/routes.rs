//! The form of a route's path and host.
//!
//! The front keeps routes as names of files, so both are made of a few harmless characters.

/// Segments of the longest path: the front looks for a route once for each length.
const SEGMENTS_MAX: usize = 3;

/// Longest segment, and longest label of a host, in bytes.
const PART_MAX: usize = 63;

/// Returns what is wrong with the path of a route.
pub(super) fn path_problem(path: &str) -> Option<&'static str> {
    let Some(segments) = path.strip_prefix('/') else {
        return Some("does not begin with `/`");
    };
    if segments.is_empty() {
        return None;
    }
    if segments.ends_with('/') {
        return Some("ends with `/`: a route covers all paths below it anyway");
    }
    let segments: Vec<&str> = segments.split('/').collect();
    if segments.len() > SEGMENTS_MAX {
        return Some("has more than three segments");
    }
    let is_good = |segment: &&str| {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let not_dots = !segment.bytes().all(|byte| byte == b'.');
        segment.len() <= PART_MAX && not_dots && segment.bytes().all(harmless)
    };
    let all_good = segments.iter().all(is_good);
    (!all_good)
        .then_some("has a segment that is not 1 to 63 of A-Z, a-z, 0-9, `-`, `.`, `_` and `~`")
}

/// Returns what is wrong with the host of a route.
pub(super) fn host_problem(host: &str) -> Option<&'static str> {
    let is_good = |label: &str| {
        let harmless =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let inside = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= PART_MAX && inside && label.bytes().all(harmless)
    };
    let good = host.len() <= 253 && host.split('.').all(is_good);
    (!good).then_some("is no host name in small letters without a port, such as `app.localhost`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["/", "/app", "/app/v2", "/a/b/c", "/_x", "/~me", "/a.b-c_d"] {
            assert_eq!(path_problem(good), None, "{good}");
        }
        for bad in [
            "", "app", "/app/", "//", "/a//b", "/a/b/c/d", "/@", "/a b", "/*", "/..", "/a/.",
            "/%41", "/{x}", "/ä",
        ] {
            assert!(path_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        for good in ["app.localhost", "localhost", "a-1.example.com", "127.0.0.1"] {
            assert_eq!(host_problem(good), None, "{good}");
        }
        for bad in [
            "",
            "App.localhost",
            "a:1",
            "a..b",
            "-a",
            "a-",
            "*.a",
            "_",
            "[::1]",
        ] {
            assert!(host_problem(bad).is_some(), "{bad}");
        }
    }
}
