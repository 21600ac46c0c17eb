//! Names of resources. An ARN nests as the resources do, and clients cut a parent's ARN from a child's, so its form is exact.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares a name that is stored as text.
macro_rules! textual {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|()| {
                    serde::de::Error::custom(format!("{text:?} is no {}", stringify!($name)))
                })
            }
        }
    };
}

/// An accelerator of either kind: a UUID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AcceleratorId(Arc<str>);

/// A listener, below its accelerator: eight hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerId {
    pub(crate) accelerator: AcceleratorId,
    own: Arc<str>,
}

/// An endpoint group, below its listener: twelve hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId {
    pub(crate) listener: ListenerId,
    own: Arc<str>,
}

/// A cross-account attachment: a UUID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttachmentId(Arc<str>);

impl AcceleratorId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(uuid(rand::random()).into())
    }

    /// The one that stands for something made elsewhere; the same for the same 128 bits.
    pub(crate) fn derived(bits: u128) -> Self {
        Self(uuid(bits).into())
    }

    /// The UUID.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ListenerId {
    /// A new one.
    pub(crate) fn random(accelerator: AcceleratorId) -> Self {
        Self::derived(accelerator, rand::random())
    }

    /// The one that stands for something made elsewhere.
    pub(crate) fn derived(accelerator: AcceleratorId, bits: u32) -> Self {
        Self {
            accelerator,
            own: format!("{bits:08x}").into(),
        }
    }

    /// Before every listener of an accelerator.
    pub(crate) fn first_of(accelerator: &AcceleratorId) -> Self {
        Self {
            accelerator: accelerator.clone(),
            own: "".into(),
        }
    }
}

impl GroupId {
    /// A new one.
    pub(crate) fn random(listener: ListenerId) -> Self {
        Self::derived(listener, rand::random())
    }

    /// The one that stands for something made elsewhere.
    pub(crate) fn derived(listener: ListenerId, bits: u64) -> Self {
        Self {
            listener,
            own: format!("{:012x}", bits & 0xffff_ffff_ffff).into(),
        }
    }

    /// Before every group of a listener.
    pub(crate) fn first_of(listener: &ListenerId) -> Self {
        Self {
            listener: listener.clone(),
            own: "".into(),
        }
    }

    /// Before every group of an accelerator.
    pub(crate) fn first_below(accelerator: &AcceleratorId) -> Self {
        Self::first_of(&ListenerId::first_of(accelerator))
    }
}

impl AttachmentId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(uuid(rand::random()).into())
    }
}

/// Sixteen hexadecimal digits, for names in DNS.
pub(crate) fn dns_label() -> String {
    format!("a{:016x}", rand::random::<u64>())
}

/// Version 4, variant 1 (RFC 9562 §5.4).
pub(crate) fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

impl fmt::Display for AcceleratorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/listener/{}", self.accelerator, self.own)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/endpoint-group/{}", self.listener, self.own)
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AcceleratorId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        is_part(text).then(|| Self(text.into())).ok_or(())
    }
}

impl FromStr for ListenerId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (accelerator, own) = text.split_once("/listener/").ok_or(())?;
        let accelerator = accelerator.parse()?;
        is_part(own)
            .then(|| Self {
                accelerator,
                own: own.into(),
            })
            .ok_or(())
    }
}

impl FromStr for GroupId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (listener, own) = text.split_once("/endpoint-group/").ok_or(())?;
        let listener = listener.parse()?;
        is_part(own)
            .then(|| Self {
                listener,
                own: own.into(),
            })
            .ok_or(())
    }
}

impl FromStr for AttachmentId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        is_part(text).then(|| Self(text.into())).ok_or(())
    }
}

textual!(AcceleratorId);
textual!(ListenerId);
textual!(GroupId);
textual!(AttachmentId);

/// One part of an ARN between slashes.
fn is_part(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Any resource that has an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Accelerator(AcceleratorId),
    Listener(ListenerId),
    Group(GroupId),
    Attachment(AttachmentId),
}

/// The account that ARNs are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) String);

impl Account {
    /// The ARN of an accelerator, listener or group.
    pub(crate) fn accelerator_arn(&self, id: &impl fmt::Display) -> String {
        format!("arn:aws:globalaccelerator::{}:accelerator/{id}", self.0)
    }

    /// The ARN of an attachment.
    pub(crate) fn attachment_arn(&self, id: &AttachmentId) -> String {
        format!("arn:aws:globalaccelerator::{}:attachment/{id}", self.0)
    }

    /// What an ARN names; `None` when it is none of this account.
    pub(crate) fn parse(&self, arn: &str) -> Option<Resource> {
        let rest = arn.strip_prefix("arn:aws:globalaccelerator::")?;
        let rest = rest.strip_prefix(self.0.as_str())?.strip_prefix(':')?;
        if let Some(id) = rest.strip_prefix("attachment/") {
            return id.parse().ok().map(Resource::Attachment);
        }
        let id = rest.strip_prefix("accelerator/")?;
        let group = || id.parse().ok().map(Resource::Group);
        let listener = || id.parse().ok().map(Resource::Listener);
        let accelerator = || id.parse().ok().map(Resource::Accelerator);
        group().or_else(listener).or_else(accelerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_nest_and_come_back() {
        let account = Account("123456789012".into());
        let accelerator = AcceleratorId::random();
        let listener = ListenerId::random(accelerator.clone());
        let group = GroupId::random(listener.clone());
        let arn = account.accelerator_arn(&group);
        assert!(arn.starts_with(&account.accelerator_arn(&listener)));
        assert!(arn.starts_with(&account.accelerator_arn(&accelerator)));
        assert_eq!(account.parse(&arn), Some(Resource::Group(group.clone())));
        assert_eq!(
            account.parse(&account.accelerator_arn(&listener)),
            Some(Resource::Listener(listener.clone()))
        );
        assert_eq!(
            account.parse(&account.accelerator_arn(&accelerator)),
            Some(Resource::Accelerator(accelerator.clone()))
        );
        assert_eq!(Account("000000000000".into()).parse(&arn), None);
        assert!(GroupId::first_below(&accelerator) < group && GroupId::first_of(&listener) < group);
        assert!(ListenerId::first_of(&accelerator) < listener);
    }

    #[test]
    fn uuids_are_of_version_4() {
        let id = uuid(u128::MAX);
        assert_eq!(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn nothing_else_is_an_arn_of_ours() {
        let account = Account("123456789012".into());
        for text in [
            "",
            "arn:aws:globalaccelerator::123456789012:accelerator/",
            "arn:aws:s3:::bucket",
            "arn:aws:globalaccelerator::123456789012:accelerator/x/listener/",
            "arn:aws:globalaccelerator::123456789012:accelerator/a b",
        ] {
            assert_eq!(account.parse(text), None, "{text}");
        }
    }
}
