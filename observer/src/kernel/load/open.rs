//! The object in the kernel: maps made, programs not yet loaded.

use anyhow::{Result, anyhow};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, Stack},
};
use ipnet::IpNet;

use super::{
    candidate::Candidate,
    detection::detection,
    object::{OBJECT, adapted},
    options::LoadOptions,
    settings::settings,
    sizes::{Needs, sizes},
};
use crate::kernel::{
    features::Features,
    maps::{duplicate, places::Places},
    refusal::brief,
    tcp_option::{self, TcpOption},
    tier::Tier,
    types::KernelTypes,
};

/// Makes the maps, in the sizes that are needed, and hands over offsets and settings.
///
/// # Errors
/// The map that the kernel refused.
pub(super) fn open(candidate: &Candidate<'_>, options: &LoadOptions) -> Result<Ebpf> {
    let settings = settings(candidate, options);
    let detection = detection(&options.detection)?;
    let mut loader = EbpfLoader::new();
    // The programs name no field of the kernel's: offsets are handed over below.
    loader.btf(None);
    loader.override_global("OFFSETS", &candidate.offsets, true);
    loader.override_global("SETTINGS", &settings, true);
    loader.override_global("DETECTION", &detection.rows, true);
    loader.override_global("LAYOUTS", &detection.layouts, true);
    let needs = Needs {
        tier: candidate.tier,
        spares: candidate.features.preemptible,
        ring_requests: settings.ring_requests != 0,
    };
    for (name, entries) in sizes(needs, options) {
        loader.map_max_entries(name, entries);
    }
    let object = adapted(OBJECT, candidate.features, options.inject)?;
    let ebpf = loader.load(&object).map_err(|error| match refused_map(&error) {
        Some(name) => anyhow!(
            "the kernel refused to make the map {name}: the limit of locked memory is too low for it and may not be \
             raised (before 5.11 maps count; ulimit -l unlimited, LimitMEMLOCK=infinity)"
        ),
        None => anyhow!(error).context("the kernel refused the object's maps or types"),
    })?;
    let mut free = Stack::try_from(duplicate(&ebpf, "FREE_PLACES")?)?;
    Places::free_all(&mut free, options.connections)?;
    Ok(ebpf)
}

/// The map that the kernel had no locked memory for.
fn refused_map(error: &EbpfError) -> Option<&str> {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error })
            if io_error.raw_os_error() == Some(libc::EPERM) =>
        {
            Some(name)
        }
        _ => None,
    }
}

/// The same, with the TCP option's program attached where it was asked for and is possible. Whether the core hands
/// contexts over to TCP options is settled before the core is loaded, so where it is not possible everything is made anew.
///
/// # Errors
/// As [`open`].
pub(super) fn open_with_option(
    candidate: &Candidate<'_>,
    options: &LoadOptions,
) -> Result<(Ebpf, TcpOption)> {
    let mut ebpf = open(candidate, options)?;
    if options.option_peers.is_empty() {
        return Ok((ebpf, TcpOption::Off));
    }
    match tcp_option::attach(&mut ebpf, candidate.types, &options.option_peers) {
        Ok(()) => Ok((ebpf, TcpOption::On)),
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "TCP option refused");
            drop(ebpf);
            let without = LoadOptions {
                option_peers: Vec::new(),
                ..options.clone()
            };
            let ebpf = open(candidate, &without)?;
            Ok((ebpf, TcpOption::Refused(brief(&error))))
        }
    }
}

/// Attaches the TCP option's program for these peers, and takes it away again.
///
/// # Errors
/// Why it does not work here.
pub fn try_tcp_option(types: &KernelTypes, features: &Features, peers: &[IpNet]) -> Result<()> {
    let options = LoadOptions {
        connections: 64,
        ring_bytes: 64 << 10,
        option_peers: peers.to_vec(),
        ..LoadOptions::default()
    };
    let candidate = Candidate::new(Tier::Socket, types, features)?;
    let mut ebpf = open(&candidate, &options)?;
    tcp_option::attach(&mut ebpf, types, peers)
}
