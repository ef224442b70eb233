//! `dep list` and `dep verify`.

use std::fs;

use kit::Exit;

use super::{exit, told};
use crate::dep::lock::Artefacts;
use crate::dep::report::{Verification, list_in, repair_in, verify_in};
use crate::dep::testing::{Bed, PLATFORM, artefact, zip_with};
use crate::dep::{Kind, Request};

fn request(name: &str, version: &str) -> Request {
    Request {
        name: name.into(),
        kind: Kind::Fetch {
            version: version.into(),
        },
    }
}

/// Returns a bed with `tool` installed from a wheel.
fn bed() -> Bed {
    let bed = Bed::new();
    let wheel = zip_with(&[("tool_bin-1.0.0.data/scripts/tool", "tool")], None);
    pin(&bed, &wheel);
    let file = bed.write("the.whl", wheel);
    bed.tool("python3", &format!("/bin/cp {} a.whl", file.display()));
    bed.fetch(&["tool"]).unwrap();
    bed
}

fn pin(bed: &Bed, wheel: &[u8]) {
    let wheel = Some(artefact("tool-bin==1.0.0", Some(wheel), None));
    let pins = Artefacts {
        archive: None,
        wheel,
    };
    bed.pin([("tool", pins.clone()), ("absent", pins)]);
}

fn verify(bed: &Bed) -> Verification {
    let requests = [request("tool", "1.0.0"), request("absent", "1.0.0")];
    bed.with_context(|context| verify_in(context, &requests).unwrap())
}

#[test]
fn list_tells_what_is_pinned_and_what_is_there() {
    let bed = bed();
    let build = Request {
        name: "wrapper".into(),
        kind: Kind::CargoBuild {
            path: "./cmd/wrapper".into(),
        },
    };
    let requests = [request("tool", "1.0.0"), request("absent", "2.0.0"), build];
    let listing = bed.with_context(|context| list_in(context, &requests).unwrap());
    let json = serde_json::to_value(&listing).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["platform"], PLATFORM);
    let names: Vec<&str> = listing
        .binaries
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(names, ["absent", "tool", "wrapper"]);
    let tool = &json["binaries"][1];
    assert_eq!(tool["source"], "wheel");
    assert_eq!(tool["size_bytes"], 4);
    assert_eq!(tool["platforms"][0], PLATFORM);
    let absent = &listing.binaries[0];
    assert!(
        !absent.installed && absent.platforms.is_empty(),
        "pinned at another version"
    );
    assert_eq!(listing.binaries[2].kind, "cargo-build");
}

#[test]
fn verify_digests_in_full_and_names_what_differs() {
    let bed = bed();
    assert!(verify(&bed).failure().is_none());

    // Same size and time: only a digest finds the difference.
    let path = bed.paths.dep().join("tool");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "evil").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let error = verify(&bed).failure().unwrap();
    assert!(told(&error).contains("`.dep/tool` has sha256"), "{error:#}");
    assert_eq!(exit(&error), Exit::Binary);

    fs::write(&path, "tool").unwrap();
    assert!(verify(&bed).failure().is_none());
    pin(&bed, b"another");
    let error = verify(&bed).failure().unwrap();
    assert!(
        told(&error).contains("`.dep/tool` is not what `dep.lock` pins"),
        "{error:#}"
    );

    fs::remove_dir_all(bed.paths.dep().join(".records")).unwrap();
    let error = verify(&bed).failure().unwrap();
    assert!(
        told(&error).contains("`.dep/tool` has no record"),
        "{error:#}"
    );
    fs::remove_file(&path).unwrap();
    assert!(
        verify(&bed).failure().is_none(),
        "what is absent does not differ"
    );
}

#[test]
fn what_decayed_is_had_again_and_the_rest_stays() {
    let bed = bed();
    let requests = [request("tool", "1.0.0"), request("absent", "1.0.0")];
    let repair = || bed.with_context(|context| repair_in(context, &requests));
    assert_eq!(repair().unwrap(), [""; 0], "nothing to do");

    // Same size and time, as when a disk corrupts a file.
    let path = bed.paths.dep().join("tool");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "evil").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(repair().unwrap(), ["tool"]);
    assert_eq!(bed.installed("tool").as_deref(), Some("tool"));
    assert!(verify(&bed).failure().is_none());
    assert_eq!(bed.installed("absent"), None, "that was not asked for");

    // A binary that cannot be obtained stays as it is.
    fs::write(&path, "evil").unwrap();
    bed.tool("python3", "exit 1");
    assert_eq!(exit(&repair().unwrap_err()), Exit::Binary);
    assert_eq!(bed.installed("tool").as_deref(), Some("evil"));
}
