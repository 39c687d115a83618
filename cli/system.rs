//! What the machine says: threads, memory, processor.

use anyhow::Context;

/// Sets the number of worker threads for the whole process, the calling one included; `None` takes
/// one per processor. A caller outside the pool would sleep and be woken at every parallel step.
pub(crate) fn use_threads(threads: Option<usize>) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .use_current_thread()
        .build_global()
        .context("cannot start the worker threads")
}

/// Worker threads in use.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// The largest resident set of this process so far, in bytes, where the system tells it.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The processor's name, where the system tells it.
pub(crate) fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_running_process_has_a_peak() {
        assert!(super::peak_bytes().is_some_and(|b| b > 1 << 16));
    }
}
