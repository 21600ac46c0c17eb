//! The smoothed connect round trip of a target. Pure; called by the checker alone.

use std::time::Duration;

/// A SYN that is lost is sent again after the kernel's initial RTO (1 s, RFC 6298 §2.1), which is no round trip. Two samples that
/// lie this far apart cannot both be one.
const RETRANSMITTED: Duration = Duration::from_millis(900);

/// SRTT of RFC 6298 with gain 1/8, over connects.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SmoothedRtt(Option<Duration>);

impl SmoothedRtt {
    /// Takes a sample.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0 = Some(match self.0 {
            None => sample,
            Some(old) if old.abs_diff(sample) > RETRANSMITTED => old.min(sample),
            Some(old) => old - old / 8 + sample / 8,
        });
    }

    /// The average, once there is one.
    pub(crate) fn get(self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn averages_with_gain_one_eighth() {
        let mut rtt = SmoothedRtt::default();
        rtt.add(ms(80));
        rtt.add(ms(160));
        assert_eq!(rtt.get(), Some(ms(90)));
    }

    #[test]
    fn a_lost_syn_is_no_round_trip() {
        let mut rtt = SmoothedRtt::default();
        rtt.add(ms(1080));
        rtt.add(ms(80));
        assert_eq!(rtt.get(), Some(ms(80)));
        rtt.add(ms(1081));
        assert_eq!(rtt.get(), Some(ms(80)));
    }
}
