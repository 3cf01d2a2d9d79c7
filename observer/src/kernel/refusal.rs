//! Why the kernel refused something, in one line.

/// The first line of a refusal, without the verifier's log that may follow.
pub(crate) fn brief(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(". Verifier output").unwrap_or(line.len());
    line[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_verifiers_log_is_left_out() {
        let error = anyhow!("refused. Verifier output: 0: R1=ctx()\n1: exit").context("a program");
        assert_eq!(brief(&error), "a program: refused");
        assert_eq!(brief(&anyhow!("one\ntwo")), "one");
    }
}
