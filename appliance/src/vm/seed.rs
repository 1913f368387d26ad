//! The cloud-init disk of a machine (data source NoCloud): a small ISO 9660
//! image with the label `cidata`, written by ourselves.
//!
//! ```text
//! sector 16  primary descriptor      names as USER-DATA.;1, which Linux shows in lower case
//!        17  Joliet descriptor       names as user-data, for everyone else
//!        18  end of descriptors
//!     19-22  path tables             little and big endian, primary and Joliet
//!     23,24  root directories        primary, Joliet
//!      25..  the three files, shared by both
//! ```
//!
//! The documents are JSON behind a `#cloud-config` line: JSON is YAML, and
//! nothing in a name or key can break out of its quotes.
//! The instance id is the machine's id, so a guest does all this once.

use ashlar_api::VmId;
use ashlar_api::vm::{CloudInit, Mac};
use serde_json::{Map, Value, json};
use sha_crypt::{PasswordHasher, ShaCrypt};

const SECTOR: usize = 2048;

/// What keeps a seed or a hash from being made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The password could not be hashed: the kernel gave no random bytes for the salt.
    #[error("cannot hash the password")]
    Hash,
    /// More than four gigabytes in one file.
    #[error("the cloud-init data is too large for an ISO 9660 image")]
    TooLarge,
}

/// Hashes a password as guests keep it: SHA-512 crypt (`$6$`). One that is a
/// hash already (`$…$`) stays as it is.
pub fn hash_password(password: &str) -> Result<String, SeedError> {
    if is_hash(password) {
        return Ok(password.to_owned());
    }
    // Twelve bytes are sixteen characters, which is all the salt crypt(3) looks at.
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(|_| SeedError::Hash)?;
    let hash = ShaCrypt::SHA512
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| SeedError::Hash)?;
    Ok(hash.as_str().to_owned())
}

/// Whether a text is the hash of a password, in a form that guests know.
pub fn is_hash(text: &str) -> bool {
    let mut parts = text.splitn(3, '$');
    parts.next() == Some("")
        && parts
            .next()
            .is_some_and(|kind| ["5", "6", "y", "gy", "7", "2b"].contains(&kind))
        && parts.next().is_some_and(|rest| rest.len() > 20)
}

/// The image for a machine.
pub fn image(
    id: VmId,
    name: &str,
    macs: &[Mac],
    cloud_init: &CloudInit,
) -> Result<Vec<u8>, SeedError> {
    let hostname = match cloud_init.hostname.as_str() {
        "" => host_name(name),
        given => given.to_owned(),
    };
    let meta = json!({ "instance-id": id.to_string(), "local-hostname": hostname });
    // In the order of their names, as directories want it.
    iso(&[
        ("meta-data", document("", &meta)),
        ("network-config", document("", &network(macs))),
        ("user-data", user_data(&hostname, cloud_init)?),
    ])
}

/// A machine's name as a host name.
fn host_name(name: &str) -> String {
    let label: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    label.trim_matches('-').to_ascii_lowercase()
}

fn document(first_line: &str, value: &Value) -> Vec<u8> {
    format!("{first_line}{value:#}\n").into_bytes()
}

fn user_data(hostname: &str, cloud_init: &CloudInit) -> Result<Vec<u8>, SeedError> {
    if !cloud_init.user_data.is_empty() {
        return Ok(cloud_init.user_data.clone().into_bytes());
    }
    let mut config = Map::new();
    config.insert("hostname".to_owned(), json!(hostname));
    if hostname.contains('.') {
        config.insert("fqdn".to_owned(), json!(hostname));
    }
    if !cloud_init.user.is_empty() {
        let mut user = json!({
            "name": cloud_init.user,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "shell": "/bin/bash",
            "lock_passwd": cloud_init.password.is_none(),
            "ssh_authorized_keys": cloud_init.ssh_keys,
        });
        if let Some(password) = &cloud_init.password {
            user["passwd"] = json!(hash_password(password)?);
        }
        config.insert("users".to_owned(), json!([user]));
        let by_password = cloud_init.password.is_some();
        config.insert("ssh_pwauth".to_owned(), json!(by_password));
    }
    Ok(document("#cloud-config\n", &Value::Object(config)))
}

/// DHCP on every interface; a guest does not wait for any but the first.
fn network(macs: &[Mac]) -> Value {
    let mut ethernets = Map::new();
    for (index, mac) in macs.iter().enumerate() {
        let name = format!("eth{index}");
        let mut one = json!({
            "match": { "macaddress": mac.to_string() },
            "set-name": name,
            "dhcp4": true,
        });
        if index > 0 {
            one["optional"] = json!(true);
        }
        ethernets.insert(name, one);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// Which of the two trees.
#[derive(Clone, Copy, PartialEq)]
enum Tree {
    Primary,
    Joliet,
}

/// Where the two things of a tree lie that its descriptor points to.
impl Tree {
    fn path_table(self) -> u32 {
        match self {
            Tree::Primary => 19,
            Tree::Joliet => 21,
        }
    }
    fn root(self) -> u32 {
        match self {
            Tree::Primary => 23,
            Tree::Joliet => 24,
        }
    }
    /// A name as the tree writes it.
    fn name(self, name: &str) -> Vec<u8> {
        match self {
            Tree::Primary => format!("{}.;1", name.to_ascii_uppercase()).into_bytes(),
            Tree::Joliet => ucs2(name),
        }
    }
}

const FIRST_FILE: u32 = 25;
/// The one directory in a path table: one byte of name, its place, its parent.
const PATH_TABLE_SIZE: u32 = 10;

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn both32(value: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

fn pad(image: &mut Vec<u8>) {
    image.resize(image.len().next_multiple_of(SECTOR), 0);
}

/// One entry of a directory: a file, or a directory (itself, its parent).
fn entry(name: &[u8], extent: u32, size: u32, directory: bool) -> Vec<u8> {
    let length = (33 + name.len()).next_multiple_of(2);
    let mut entry = Vec::with_capacity(length);
    entry.push(u8::try_from(length).unwrap_or(u8::MAX));
    entry.push(0);
    entry.extend(both32(extent));
    entry.extend(both32(size));
    // Year 1980: a fixed moment, so that equal contents make equal images.
    entry.extend([80, 1, 1, 0, 0, 0, 0]);
    entry.push(if directory { 2 } else { 0 });
    entry.extend([0, 0]);
    entry.extend(both16(1));
    entry.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    entry.extend(name);
    entry.resize(length, 0);
    entry
}

fn root_entry(tree: Tree, name: &[u8]) -> Vec<u8> {
    const SIZE: u32 = 2048;
    entry(name, tree.root(), SIZE, true)
}

fn descriptor(tree: Tree, sectors: u32) -> Vec<u8> {
    let text = |text: &str, length: usize| {
        let (mut bytes, blank) = match tree {
            Tree::Primary => (text.as_bytes().to_vec(), &b" "[..]),
            Tree::Joliet => (ucs2(text), &b"\0 "[..]),
        };
        while bytes.len() + blank.len() <= length {
            bytes.extend(blank);
        }
        bytes.resize(length, 0);
        bytes
    };
    let mut d = Vec::with_capacity(SECTOR);
    d.push(match tree {
        Tree::Primary => 1,
        Tree::Joliet => 2,
    });
    d.extend(b"CD001\x01\0");
    d.extend(text("LINUX", 32));
    d.extend(text("cidata", 32));
    d.extend([0; 8]);
    d.extend(both32(sectors));
    let mut escape = [0; 32];
    if tree == Tree::Joliet {
        // UCS-2 level 3.
        escape[..3].copy_from_slice(b"%/E");
    }
    d.extend(escape);
    d.extend(both16(1));
    d.extend(both16(1));
    d.extend(both16(2048));
    d.extend(both32(PATH_TABLE_SIZE));
    d.extend(tree.path_table().to_le_bytes());
    d.extend([0; 4]);
    d.extend((tree.path_table() + 1).to_be_bytes());
    d.extend([0; 4]);
    d.extend(root_entry(tree, &[0]));
    // Volume set, publisher, preparer, application.
    for _ in 0..4 {
        d.extend(text("", 128));
    }
    // Copyright, abstract and bibliography.
    for _ in 0..3 {
        d.extend(text("", 37));
    }
    // Made, changed, ends, begins: not told.
    for _ in 0..4 {
        d.extend(b"0000000000000000\0");
    }
    d.push(1);
    pad(&mut d);
    d
}

fn path_tables(tree: Tree) -> Vec<u8> {
    let mut tables = vec![1, 0];
    tables.extend(tree.root().to_le_bytes());
    tables.extend([1, 0, 0, 0]);
    pad(&mut tables);
    tables.extend([1, 0]);
    tables.extend(tree.root().to_be_bytes());
    tables.extend([0, 1, 0, 0]);
    pad(&mut tables);
    tables
}

/// An image with these files, which are few and in the order of their names.
fn iso(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, SeedError> {
    let mut places = Vec::new();
    let mut next = FIRST_FILE;
    for (name, content) in files {
        let size = u32::try_from(content.len()).map_err(|_| SeedError::TooLarge)?;
        places.push((*name, next, size));
        next += size.div_ceil(2048);
    }
    let mut image = vec![0; 16 * SECTOR];
    for tree in [Tree::Primary, Tree::Joliet] {
        image.extend(descriptor(tree, next));
    }
    image.extend(b"\xffCD001\x01");
    pad(&mut image);
    for tree in [Tree::Primary, Tree::Joliet] {
        image.extend(path_tables(tree));
    }
    for tree in [Tree::Primary, Tree::Joliet] {
        image.extend(root_entry(tree, &[0]));
        image.extend(root_entry(tree, &[1]));
        for (name, extent, size) in &places {
            image.extend(entry(&tree.name(name), *extent, *size, false));
        }
        pad(&mut image);
    }
    for (_, content) in files {
        image.extend(content);
        pad(&mut image);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> VmId {
        "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0001".parse().unwrap()
    }

    fn example() -> Vec<u8> {
        let cloud_init = CloudInit {
            user: "ada".to_owned(),
            password: Some(HASH.to_owned()),
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA \"quoted\": yes".to_owned()],
            ..CloudInit::default()
        };
        let macs = ["52:54:00:12:34:56", "52:54:00:12:34:57"].map(|mac| mac.parse().unwrap());
        image(id(), "web_01", &macs, &cloud_init).unwrap()
    }

    /// Reads a file by the Joliet tree, the way a driver does.
    fn read(image: &[u8], name: &str) -> Option<String> {
        let le32 = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        let mut at = le32(17 * SECTOR + 156 + 2) * SECTOR;
        while image[at] != 0 {
            let length = usize::from(image[at + 32]);
            if image[at + 33..at + 33 + length] == ucs2(name) {
                let (begin, size) = (le32(at + 2) * SECTOR, le32(at + 10));
                return Some(String::from_utf8(image[begin..begin + size].to_vec()).unwrap());
            }
            at += usize::from(image[at]);
        }
        None
    }

    /// From the test cases of the specification of SHA-crypt (Drepper): "Hello world!".
    const HASH: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1";

    #[test]
    fn hashes_as_guests_do() {
        let hash = hash_password("geheim").unwrap();
        assert!(is_hash(&hash) && hash.starts_with("$6$"), "{hash}");
        assert_eq!(hash_password(&hash).unwrap(), hash);
        assert_eq!(hash_password(HASH).unwrap(), HASH);
        assert!(!is_hash("$ecret$") && !is_hash("$6$"));
        // What glibc, which most guests have, makes of it.
        let salt = hash.rsplit_once('$').unwrap().0;
        let glibc = std::process::Command::new("perl")
            .args(["-e", "print crypt('geheim', $ARGV[0])", salt])
            .output();
        if let Ok(output) = glibc {
            assert_eq!(String::from_utf8_lossy(&output.stdout), hash);
        }
    }

    #[test]
    fn holds_the_three_documents() {
        let image = example();
        assert_eq!(image.len() % SECTOR, 0);
        insta::assert_snapshot!(
            ["meta-data", "network-config", "user-data"]
                .map(|name| format!("--- {name}\n{}", read(&image, name).unwrap()))
                .concat()
        );
        let own = CloudInit {
            user_data: "#!/bin/sh\necho hello\n".to_owned(),
            ..CloudInit::default()
        };
        let image = super::image(id(), "web", &[], &own).unwrap();
        assert_eq!(read(&image, "user-data").unwrap(), own.user_data);
    }

    /// What other programs make of it; those that are not installed are passed over.
    #[test]
    fn other_programs_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.iso");
        std::fs::write(&path, example()).unwrap();
        let run = |program: &str, args: &[&str]| {
            let output = std::process::Command::new(program)
                .args(args)
                .arg(&path)
                .output();
            output
                .ok()
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if let Some(text) = run("blkid", &["-p", "-o", "export"]) {
            assert!(text.contains("TYPE=iso9660"), "{text}");
            assert!(text.contains("LABEL=cidata"), "{text}");
        }
        for flags in ["-f", "-Jf"] {
            if let Some(text) = run("isoinfo", &[flags, "-i"]) {
                assert!(text.to_lowercase().contains("/user-data"), "{text}");
            }
        }
    }

    #[test]
    fn names_become_host_names() {
        for (name, host) in [("web_01", "web-01"), ("A.b", "a-b"), ("x-", "x")] {
            assert_eq!(host_name(name), host);
        }
    }
}
