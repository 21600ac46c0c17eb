//! Requests that are signed by hand (signature version 4), for what the typed clients lack or would be too large for.

use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use super::{Account, ErrorClass, Fault, Service, Session};

/// What is asked.
pub(crate) struct ByHand<'a> {
    pub(crate) service: Service,
    pub(crate) account: &'a Account,
    /// Of the endpoint and of the signature.
    pub(crate) region: &'a str,
    pub(crate) method: &'static str,
    /// With its query, from the slash on.
    pub(crate) path: &'a str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: &'a str,
}

/// What was answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    pub(crate) body: String,
}

impl ByHand<'_> {
    /// Signs, sends, and reads the answer to its end.
    pub(crate) async fn send(&self, session: &Session) -> Result<Answered, Fault> {
        let answer = session.send(self.signed(session).await?).await?;
        let status = answer.status().as_u16();
        let request_id = answer.headers().get("x-amzn-requestid").map(str::to_owned);
        let body = ByteStream::new(answer.into_body()).collect().await;
        let body = body.map_err(|error| Fault::new(ErrorClass::Unreachable, error.to_string()))?;
        Ok(Answered {
            status,
            request_id,
            body: String::from_utf8_lossy(&body.into_bytes()).into_owned(),
        })
    }

    async fn signed(&self, session: &Session) -> Result<HttpRequest, Fault> {
        let base = session.endpoint(self.service, self.region);
        let url = format!("{}{}", base.trim_end_matches('/'), self.path);
        let host = url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
            .to_owned();
        let content_type = self.content_type.map(|kind| ("content-type", kind));
        let headers: Vec<(&str, &str)> = [("host", host.as_str())]
            .into_iter()
            .chain(content_type)
            .collect();
        let identity = session.credentials(self.account).await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service.as_str())
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| ours(&error))?
            .into();
        let body = SignableBody::Bytes(self.body.as_bytes());
        let signable =
            SignableRequest::new(self.method, url.as_str(), headers.iter().copied(), body);
        let signable = signable.map_err(|error| ours(&error))?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|error| ours(&error))?
            .into_parts();
        let mut request = HttpRequest::new(SdkBody::from(self.body));
        request
            .set_method(self.method)
            .map_err(|error| ours(&error))?;
        request.set_uri(url.clone()).map_err(|error| ours(&error))?;
        for (name, value) in &headers {
            request
                .headers_mut()
                .insert((*name).to_owned(), (*value).to_owned());
        }
        let (signed, _) = instructions.into_parts();
        for header in signed {
            request
                .headers_mut()
                .insert(header.name(), header.value().to_owned());
        }
        Ok(request)
    }
}

fn ours(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(ErrorClass::Refused, format!("cannot be signed: {error}"))
}

/// RFC 3986's unreserved characters stay.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
