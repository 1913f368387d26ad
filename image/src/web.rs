//! The console: from `web/` to `web/dist/`, which the program embeds.
//!
//! What lies in dist is the contract with the server: `index.html`, and everything it needs as
//! `assets/<name>-<hash>.<end>`, each with `.br` and `.gz` beside it where that is smaller. A name with a hash may be
//! kept by browsers for ever, only the page is asked for again. The page holds no script of its own, so the policy
//! `script-src 'self' 'wasm-unsafe-eval'` is enough.
//!
//! The steps: cargo for wasm32, wasm-bindgen (as a library of the version in Cargo.lock, so there is no tool that can be
//! the wrong one), wasm-opt, esbuild over `web/static` for what is JavaScript and CSS, then names and compression.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::base::walk;
use crate::place::Place;
use crate::progress::{Step, mebibytes};
use crate::tool::Tool;

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's compiler for this target, used where rustup's lacks it.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Leptos gives each view a type of its own, as deep as the page; erased they compile in half the time, to less.
const ERASED: &str = "--cfg erase_components";

/// How the console is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Small, as it is released.
    Console,
    /// Quickly, for work on it.
    Dev,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Dev => "dev",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Dev => "debug",
        }
    }
}

/// Makes `web/dist`, or finds it made from the same sources. The caller holds the lock.
pub fn make(place: &Place, profile: Profile) -> Result<()> {
    let program = compile(place, profile)?;
    packages(place)?;
    let dist = place.web().join("dist");
    let key = key(place, &program)?;
    let key_file = dist.join(".key");
    if fs::read_to_string(&key_file).is_ok_and(|old| old == key) {
        return Ok(());
    }

    let step = Step::start("Console's pages");
    let work = tempfile::Builder::new()
        .prefix(".dist-")
        .tempdir_in(place.web())
        .context("cannot make a work folder")?;
    let loose = work.path().join("loose");
    fs::create_dir_all(&loose).with_context(|| format!("cannot create {}", loose.display()))?;
    step.say("wasm-bindgen");
    bindgen(&program, &loose)?;
    if profile == Profile::Console {
        optimise(place, &loose, &step)?;
    }
    bundle(place, &loose, &step)?;
    step.say("naming and compressing");
    let finished = work.path().join("dist");
    let size = name_and_compress(&loose, &finished, profile)?;
    fs::write(finished.join(".key"), key).context("cannot write the console's key")?;
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("cannot replace {}", dist.display()))?;
    }
    fs::rename(&finished, &dist).with_context(|| format!("cannot write {}", dist.display()))?;
    step.done(&format!("{} to download", mebibytes(size)));
    Ok(())
}

/// What tells the console in `web/dist` from every other.
pub fn built(place: &Place) -> Result<String> {
    let key = place.web().join("dist/.key");
    fs::read_to_string(&key).with_context(|| format!("cannot read {}", key.display()))
}

fn compile(place: &Place, profile: Profile) -> Result<PathBuf> {
    let step = Step::start("Console's program");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Tool::new(&cargo)
        .args([
            "build",
            "--package",
            "ashlar-web",
            "--target",
            TARGET,
            "--profile",
            profile.name(),
        ])
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", ERASED)
        .directory(place.root());
    let sysroot = Tool::new("rustc")
        .args(["--print", "sysroot"])
        .directory(place.root())
        .output()?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    if !libraries.join(TARGET).exists() {
        ensure!(
            Path::new(DEBIAN_RUSTC).exists(),
            "no Rust compiler here can build for {TARGET}: run `make setup`, which brings one"
        );
        build = with_debian_compiler(build, &libraries)?;
    }
    build.show(&step)?;
    step.done("");
    Ok(place
        .target()
        .join(TARGET)
        .join(profile.folder())
        .join("ashlar-web.wasm"))
}

/// Debian's compiler has the library as source only: cargo builds it along, which is allowed by RUSTC_BOOTSTRAP.
fn with_debian_compiler(build: Tool, libraries: &Path) -> Result<Tool> {
    let host = Tool::new(DEBIAN_RUSTC)
        .args(["--print", "host-tuple"])
        .output()?;
    let linker = libraries.join(host.trim()).join("bin/rust-lld");
    let linker = if linker.exists() {
        linker
    } else {
        PathBuf::from("wasm-ld")
    };
    Ok(build
        .arg("-Zbuild-std=std,panic_abort")
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker))
}

/// The npm packages exactly as the lock file says, installed when that changed.
fn packages(place: &Place) -> Result<()> {
    let web = place.web();
    let lock =
        fs::read(web.join("package-lock.json")).context("cannot read web/package-lock.json")?;
    let stamp = web.join("node_modules/.ashlar-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let step = Step::start("Console's npm packages");
    Tool::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .directory(&web)
        .show(&step)?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))?;
    step.done("");
    Ok(())
}

fn bindgen(program: &Path, loose: &Path) -> Result<()> {
    let mut output = Bindgen::new()
        .input_path(program)
        .web(true)
        .context("cannot set up wasm-bindgen")?
        .out_name("console")
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen failed")?;
    // A crate that could bring some and brings none has an empty entry.
    ensure!(
        output.snippets().values().all(Vec::is_empty) && output.local_modules().is_empty(),
        "the console's program brings JavaScript by wasm_bindgen(module = ...), which would be loaded under a name \
         without a hash; put it into web/static/js instead"
    );
    output
        .emit(loose)
        .context("wasm-bindgen could not write its output")
}

/// wasm-opt when npm brought it: it takes about a tenth off, and the console works without.
fn optimise(place: &Place, loose: &Path, step: &Step) -> Result<()> {
    let wasm_opt = place.web().join("node_modules/.bin/wasm-opt");
    if !wasm_opt.exists() {
        return Ok(());
    }
    let program = loose.join("console_bg.wasm");
    let small = loose.join("small.wasm");
    Tool::new(&wasm_opt.to_string_lossy())
        .args([
            "-Oz",
            "--enable-bulk-memory",
            "--enable-nontrapping-float-to-int",
            "--enable-sign-ext",
        ])
        .args([
            "--enable-mutable-globals",
            "--enable-multivalue",
            "--enable-reference-types",
            "-o",
        ])
        .arg(&small)
        .arg(&program)
        .show(step)?;
    fs::rename(&small, &program).context("cannot use what wasm-opt made")
}

/// esbuild over what is JavaScript and CSS, and a copy of all else in `web/static`.
fn bundle(place: &Place, loose: &Path, step: &Step) -> Result<()> {
    let web = place.web();
    Tool::new("npm")
        .args(["run", "--silent", "bundle", "--"])
        .arg(format!("--outdir={}", loose.display()))
        .directory(&web)
        .show(step)?;
    let sources = web.join("static");
    for path in walk(&sources)? {
        let from = sources.join(&path);
        if from.is_dir() || path.starts_with("js") || path.starts_with("style") {
            continue;
        }
        let to = loose.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Moves every loose file to its name with a hash, puts those names into the page, and compresses. Returns what a
/// browser downloads for the whole console.
fn name_and_compress(loose: &Path, finished: &Path, profile: Profile) -> Result<u64> {
    let page =
        fs::read_to_string(loose.join("index.html")).context("web/static/index.html is missing")?;
    fs::create_dir_all(finished.join("assets")).context("cannot create the folder of assets")?;
    let mut names = BTreeMap::new();
    let mut download = 0;
    for path in walk(loose)? {
        let from = loose.join(&path);
        if from.is_dir() || path == Path::new("index.html") {
            continue;
        }
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let name = hashed(&path, &content)?;
        download += write_compressed(&finished.join(&name), &content, profile)?;
        names.insert(format!("/{}", path.display()), format!("/{name}"));
    }
    let page = rename_in_page(&page, &names)?;
    download += write_compressed(&finished.join("index.html"), page.as_bytes(), profile)?;
    Ok(download)
}

/// `js/vnc.js` with its content's hash: `assets/vnc-0123456789abcdef.js`.
fn hashed(path: &Path, content: &[u8]) -> Result<String> {
    let part =
        |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
    let stem = part(path.file_stem()).with_context(|| format!("{} has no name", path.display()))?;
    let end =
        part(path.extension()).with_context(|| format!("{} has no extension", path.display()))?;
    let hash: String = Sha256::digest(content)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("assets/{stem}-{hash}.{end}"))
}

/// Puts the new names where the page has the old ones, in quotes; an address that leads to no file is an error.
fn rename_in_page(page: &str, names: &BTreeMap<String, String>) -> Result<String> {
    let mut result = String::with_capacity(page.len());
    for (number, part) in page.split('"').enumerate() {
        if number > 0 {
            result.push('"');
        }
        let is_address = number % 2 == 1 && part.starts_with('/') && part.len() > 1;
        if is_address {
            let name = names.get(part);
            result.push_str(name.with_context(|| {
                format!("web/static/index.html names {part}, which is not there")
            })?);
        } else {
            result.push_str(part);
        }
    }
    Ok(result)
}

/// Writes a file, and its compressed forms where they save a tenth; without them while one works on the console, who
/// would wait for them longer than for the compiler. Returns the smallest size.
fn write_compressed(path: &Path, content: &[u8], profile: Profile) -> Result<u64> {
    let write = |path: &Path, content: &[u8]| {
        fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write(path, content)?;
    let mut smallest = content.len();
    let forms = match profile {
        Profile::Console => vec![("gz", gzip(content)?), ("br", brotli(content)?)],
        Profile::Dev => Vec::new(),
    };
    for (end, packed) in forms {
        if packed.len() < content.len() / 10 * 9 {
            smallest = smallest.min(packed.len());
            let mut name = path.as_os_str().to_owned();
            name.push(".");
            name.push(end);
            write(Path::new(&name), &packed)?;
        }
    }
    u64::try_from(smallest).context("a file larger than the address space")
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).context("cannot compress")?;
    encoder.finish().context("cannot compress")
}

fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 24,
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &content[..], &mut packed, &parameters)
        .context("cannot compress")?;
    Ok(packed)
}

/// Everything the dist is made from.
fn key(place: &Place, program: &Path) -> Result<String> {
    let web = place.web();
    let mut hash = Sha256::new();
    let mut files = vec![
        program.to_path_buf(),
        web.join("package.json"),
        web.join("package-lock.json"),
    ];
    let sources = web.join("static");
    files.extend(
        walk(&sources)?
            .into_iter()
            .map(|path| sources.join(path))
            .filter(|path| path.is_file()),
    );
    for path in files {
        hash.update(path.as_os_str().as_encoded_bytes());
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(Sha256::digest(content));
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_gets_the_new_names() {
        let names = BTreeMap::from([("/a.js".to_owned(), "/assets/a-1.js".to_owned())]);
        let page = r#"<p class="x">/a.js</p><script src="/a.js"></script><a href="/">"#;
        let renamed = rename_in_page(page, &names).unwrap();
        assert_eq!(
            renamed,
            r#"<p class="x">/a.js</p><script src="/assets/a-1.js"></script><a href="/">"#
        );
        assert!(
            rename_in_page(r#"<img src="/gone.svg">"#, &names)
                .unwrap_err()
                .to_string()
                .contains("/gone.svg")
        );
    }

    #[test]
    fn a_name_follows_the_content() {
        let one = hashed(Path::new("js/vnc.js"), b"one").unwrap();
        assert!(
            one.starts_with("assets/vnc-") && one.ends_with(".js"),
            "{one}"
        );
        assert_ne!(one, hashed(Path::new("js/vnc.js"), b"two").unwrap());
    }

    #[test]
    fn dist_holds_smaller_forms_only() {
        let folder = tempfile::tempdir().unwrap();
        let loose = folder.path().join("loose");
        fs::create_dir_all(loose.join("js")).unwrap();
        fs::write(
            loose.join("index.html"),
            r#"<script src="/js/a.js"></script>"#.repeat(40),
        )
        .unwrap();
        fs::write(loose.join("js/a.js"), "x").unwrap();
        let finished = folder.path().join("dist");
        name_and_compress(&loose, &finished, Profile::Console).unwrap();
        let files: Vec<_> = walk(&finished)
            .unwrap()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            files
                .iter()
                .filter(|name| name.starts_with("assets/a-"))
                .count(),
            1,
            "{files:?}"
        );
        assert!(files.contains(&"index.html.br".to_owned()), "{files:?}");
    }
}
