//! How the program is linked: with a table of relocations a fiftieth as long, which the dynamic linker of every start
//! goes through (`DT_RELR`, glibc 2.36), and functions that came out the same kept once.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in ["-z", "pack-relative-relocs", "--icf=safe"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
}
