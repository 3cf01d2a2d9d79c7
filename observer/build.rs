//! Names the committed eBPF object.
fn main() {
    let object = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf/observer-x86_64.o");
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=OBSERVER_EBPF_OBJECT={}", object.display());
}
