//! Shared parts of the tests of this module: archives, a server that can misbehave, a checkout.

mod bed;
mod server;

use std::io::{Cursor, Write as _};

pub(super) use bed::{Bed, PLATFORM, artefact};
pub(super) use server::{Answer, Server};

/// Returns a `.tar.gz` of files and, if wanted, one symbolic link (name, target).
pub(super) fn tar_gz(files: &[(&str, &str)], link: Option<(&str, &str)>) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    if let Some((name, target)) = link {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Like [`tar_gz`], as a `.zip`.
pub(super) fn zip_with(files: &[(&str, &str)], link: Option<(&str, &str)>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    if let Some((name, target)) = link {
        zip.add_symlink(name, target, options).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
