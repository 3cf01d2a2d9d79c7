//! Loads the programs and prints raw records.
use observer::kernel::*;
fn main() -> anyhow::Result<()> {
    let t = std::time::Instant::now();
    let types = offsets::KernelTypes::of_running_kernel()?;
    let features = Features::probe(&types);
    eprintln!("types {:?} {features:?}", t.elapsed());
    let tier = std::env::args()
        .nth(1)
        .map(|t| Tier::ALL.into_iter().find(|x| x.as_str() == t).unwrap());
    let mut k = Kernel::load(
        &types,
        &features,
        &LoadOptions {
            tier,
            observer_tgid: std::process::id(),
            ..Default::default()
        },
    )?;
    eprintln!(
        "loaded {} in {:?} refused {:?}",
        k.tier(),
        k.load_time(),
        k.refused()
    );
    eprintln!("{:?}", k.verified_instructions());
    eprintln!("{:?}", k.map_bytes());
    let (rings, _p) = k.take_rings(1)?;
    let mut p = k.policy()?;
    p.enable(true)?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let s2 = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(
            std::env::args()
                .nth(2)
                .and_then(|x| x.parse().ok())
                .unwrap_or(5),
        ));
        s2.store(true, std::sync::atomic::Ordering::Release);
    });
    for ring in rings {
        reader::run(
            ring,
            &stop,
            &mut (),
            |_, r| {
                let w = |o: usize| u64::from_le_bytes(r[o..o + 8].try_into().unwrap());
                let h = &r[24..32];
                let cap = u32::from_le_bytes(h[0..4].try_into().unwrap()) as usize;
                println!(
                    "sock {:x} gen {} t {} cap {} kind {} dir {} flags {:x} role {} len {} start {} end {} {:?}",
                    w(0) & 0xffffff,
                    w(8) % 1000000000,
                    w(16) % 1000000000,
                    cap,
                    h[4],
                    h[5],
                    h[6],
                    h[7],
                    r.len(),
                    if r.len() >= 56 { w(32) } else { 0 },
                    if r.len() >= 56 { w(40) } else { 0 },
                    String::from_utf8_lossy(&r[r.len() - cap..][..cap.min(60)])
                );
                if h[4] == 1 {
                    let c = &r[128..192];
                    println!(
                        "   trace {:02x?} span {:02x?} parent {:02x?} method {} prev {} other {} est {}",
                        &c[..4],
                        &c[16..20],
                        &c[24..28],
                        c[56],
                        w(56),
                        w(72),
                        w(104)
                    );
                }
            },
            |_| {},
        );
    }
    println!("{:?}", k.counters()?);
    Ok(())
}
