//! What a link does to packets, and how it is written: `delay=40ms loss=0.1%`, with `x/y` for different values there and back.

use std::time::Duration;

/// One direction of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// One-way propagation.
    pub delay: Duration,
    /// Uniform, to either side of `delay`; the order of packets is kept.
    pub jitter: Duration,
    /// 0 to 1.
    pub loss: f64,
    /// Mean length of a burst of losses, in packets; up to 1 each packet is lost by itself.
    pub burst: f64,
    /// Bits a second; 0 is without limit.
    pub rate: u64,
    /// Backlog at `rate` before packets are dropped.
    pub queue: Duration,
    /// Everything is lost in silence, what is on its way included.
    pub blackhole: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 1.0,
            rate: 0,
            queue: Duration::from_millis(100),
            blackhole: false,
        }
    }
}

impl Settings {
    /// Whether packets are only delayed. Then segments may pass whole; otherwise loss and rate must meet what a wire would carry.
    pub(crate) fn only_delay(&self) -> bool {
        self.loss == 0.0 && self.rate == 0 && self.jitter.is_zero()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "delay" => self.delay = duration(value)?,
            "jitter" => self.jitter = duration(value)?,
            "loss" => self.loss = share(value)?,
            "burst" => self.burst = number(value)?.0,
            "rate" => self.rate = rate(value)?,
            "queue" => self.queue = duration(value)?,
            "blackhole" => self.blackhole = flag(value)?,
            _ => {
                return Err(format!(
                    "{key}: unknown; delay, jitter, loss, burst, rate, queue, blackhole or carrier"
                ));
            }
        }
        Ok(())
    }
}

/// A change of a link, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) there: Settings,
    pub(crate) back: Settings,
    pub(crate) carrier: bool,
}

impl Change {
    /// Reads words on top of what is.
    pub(crate) fn parse(mut self, words: &str) -> Result<Change, String> {
        for word in words.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word}: key=value is expected"))?;
            if key == "carrier" {
                self.carrier = flag(value)?;
                continue;
            }
            let (there, back) = value.split_once('/').unwrap_or((value, value));
            self.there.set(key, there)?;
            self.back.set(key, back)?;
        }
        Ok(self)
    }
}

fn number(text: &str) -> Result<(f64, &str), String> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let value = digits
        .parse()
        .map_err(|_| format!("{text}: not a number"))?;
    Ok((value, unit))
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = match number(text)? {
        (value, "us") => value / 1e6,
        (value, "ms") => value / 1e3,
        (value, "s") => value,
        (0.0, "") => 0.0,
        _ => return Err(format!("{text}: a duration needs us, ms or s")),
    };
    Ok(Duration::from_secs_f64(seconds))
}

fn rate(text: &str) -> Result<u64, String> {
    let bits = match number(text)? {
        (value, "kbit") => value * 1e3,
        (value, "mbit") => value * 1e6,
        (value, "gbit") => value * 1e9,
        (0.0, "") => 0.0,
        _ => return Err(format!("{text}: a rate needs kbit, mbit or gbit")),
    };
    Ok(bits as u64)
}

fn share(text: &str) -> Result<f64, String> {
    match number(text)? {
        (value, "%") if value <= 100.0 => Ok(value / 100.0),
        (0.0, "") => Ok(0.0),
        _ => Err(format!("{text}: a percentage is expected")),
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "1" | "on" => Ok(true),
        "0" | "off" => Ok(false),
        _ => Err(format!("{text}: 0 or 1 is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_what_they_name_there_and_back() {
        let lit = Change {
            carrier: true,
            ..Change::default()
        };
        let change = lit
            .parse("delay=40ms/500us loss=0.5% rate=100mbit blackhole=0/1")
            .unwrap();
        assert!(change.carrier);
        assert_eq!(change.there.delay, Duration::from_millis(40));
        assert_eq!(change.back.delay, Duration::from_micros(500));
        assert_eq!(change.there.loss, 0.005);
        assert_eq!(change.back.rate, 100_000_000);
        assert!(!change.there.blackhole && change.back.blackhole);
        let dark = change.clone().parse("carrier=0").unwrap();
        assert_eq!(dark.there, change.there);
        assert!(!dark.carrier);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, expected) in [
            ("delay=40", "needs us, ms or s"),
            ("loss=3", "percentage"),
            ("colour=red", "unknown"),
            ("delay", "key=value"),
            ("carrier=maybe", "0 or 1"),
        ] {
            let error = Change::default().parse(words).unwrap_err();
            assert!(error.contains(expected), "{words}: {error}");
        }
    }
}
