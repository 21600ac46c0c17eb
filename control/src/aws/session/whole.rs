//! Refuses XML that ends before its root element does. The SDK's reader takes such an answer for what has come so far: half a list
//! would be a list, and the mark that there is more would be missing.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// For every typed client of a service that answers in XML.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeXml;

impl Intercept for WholeXml {
    fn name(&self) -> &'static str {
        "WholeXml"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let is_good = response.status().is_success();
        match response.body().bytes() {
            Some(body) if is_good && !is_whole(body) => Err("the answer is cut off".into()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the root element that begins is the one that ends. No body at all is for the reader to judge.
fn is_whole(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let begins = |at: &usize| {
        let rest = &text[at + 1..];
        !rest.starts_with(['?', '!'])
    };
    let Some(root) = text.match_indices('<').map(|(at, _)| at).find(begins) else {
        return text.is_empty();
    };
    let root = &text[root + 1..];
    let name: &str = root
        .split(|c: char| c.is_whitespace() || c == '>' || c == '/')
        .next()
        .unwrap_or_default();
    let is_alone = root
        .strip_suffix("/>")
        .is_some_and(|rest| !rest.contains('>'));
    is_alone || text.ends_with(&format!("</{name}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        "<?xml version=\"1.0\"?>\n<!-- x --><A xmlns=\"y\"><B><C>1</C><C/></B></A>\n";

    #[test]
    fn only_what_ends_as_it_began_is_whole() {
        assert!(is_whole(WHOLE.as_bytes()));
        assert!(is_whole(b"<ChangeTagsForResourceResponse/>"));
        assert!(is_whole(b""));
        let end = WHOLE.trim_end().len();
        let begin = WHOLE.find("<A").expect("it is there") + 1;
        for cut in begin..end {
            assert!(!is_whole(&WHOLE.as_bytes()[..cut]), "{}", &WHOLE[..cut]);
        }
    }
}
