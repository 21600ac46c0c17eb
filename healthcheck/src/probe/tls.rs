//! TLS for HTTPS probes: rustls over ring, with this host's trusted roots, or trusting anybody where the check says so.

use std::net::IpAddr;
use std::sync::Arc;

use portolan_config::health::Failure;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure;
use crate::target::ProbeTarget;

/// The two configurations, each made when first needed.
#[derive(Debug, Default)]
pub(crate) struct TlsClients {
    verifying: OnceCell<Arc<ClientConfig>>,
    trusting: OnceCell<Arc<ClientConfig>>,
}

impl TlsClients {
    /// Trusts these roots instead of the host's.
    #[cfg(test)]
    pub(crate) fn with_roots(roots: RootCertStore) -> Self {
        Self {
            verifying: OnceCell::new_with(verifying(roots).ok()),
            trusting: OnceCell::new(),
        }
    }

    /// The handshake.
    pub(super) async fn greet(
        &self,
        stream: TcpStream,
        target: &ProbeTarget,
        sni: Option<&str>,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = server_name(target, sni)?;
        let config = self.config(verify).await?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| failure::of_exchange(&error, "TLS"))
    }

    async fn config(&self, verify: bool) -> Result<Arc<ClientConfig>, Failure> {
        // What cannot be made is tried again by the next probe: certificates can be installed meanwhile.
        let made = if verify {
            self.verifying.get_or_try_init(load_and_verify).await
        } else {
            self.trusting.get_or_try_init(async || trusting()).await
        };
        made.cloned()
    }
}

/// The name in SNI: the check's, else the endpoint's own; an address is never sent, but certificates can be made out to it.
fn server_name(target: &ProbeTarget, sni: Option<&str>) -> Result<ServerName<'static>, Failure> {
    match sni.or(target.name.as_deref()) {
        Some(name) => ServerName::try_from(name.to_owned())
            .map_err(|_| local(&format!("{name:?} cannot be a TLS server name"))),
        None => {
            let ip: IpAddr = target.address.0.ip();
            Ok(ServerName::from(ip))
        }
    }
}

/// Reading the roots takes milliseconds and many files: not on the runtime's threads.
async fn load_and_verify() -> Result<Arc<ClientConfig>, Failure> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|error| local(&format!("reading the trusted roots: {error}")))?;
    let mut roots = RootCertStore::empty();
    // Hosts carry certificates that webpki does not take; the others are as good.
    let (usable, _) = roots.add_parsable_certificates(loaded.certs);
    if usable == 0 {
        let why = loaded.errors.first().map(|e| format!(": {e}"));
        return Err(local(&format!(
            "no trusted root certificates on this host{}; install ca-certificates or set verify_tls = false",
            why.unwrap_or_default()
        )));
    }
    verifying(roots)
}

fn verifying(roots: RootCertStore) -> Result<Arc<ClientConfig>, Failure> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| local(&error.to_string()))?;
    config_with(verifier)
}

fn trusting() -> Result<Arc<ClientConfig>, Failure> {
    config_with(Arc::new(TrustAnybody {
        provider: provider(),
    }))
}

fn config_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, Failure> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| local(&error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn local(what: &str) -> Failure {
    Failure::Local(Arc::from(what))
}

/// `verify_tls = false`: any certificate will do, as Global Accelerator's and the load balancers' checks have it. The handshake's
/// signature is still checked, so the endpoint must hold the key to what it shows.
#[derive(Debug)]
struct TrustAnybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
