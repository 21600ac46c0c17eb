//! `[api]`, `[store]` and `[[endpoint_alias]]`: the Global-Accelerator-compatible API and what it keeps.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::de::DeValue;

use super::keys::Table;
use super::rules::{Claims, OwnSocket};
use super::section::Section;
use super::typed::{self, parsed};
use super::values::{self, ValueError, fault};
use crate::model::{AliasAddress, Api, Credential, EndpointAlias};

/// `127.0.0.0/8` is local on every Linux machine without set-up.
const DEFAULT_POOL: &str = "127.77.0.0/24";

/// `Some(None)` is a file without `[api]`.
pub(super) fn api(root: &Section<'_>, folder: &Path, claims: &mut Claims) -> Option<Option<Api>> {
    let section = root.child(Table::Api)?;
    if !section.is_present() {
        return Some(None);
    }
    let listen = section.get("listen", parsed(values::listen));
    let account_id = section.get("account_id", account_id);
    let address_pool = address_pool(&section);
    let credentials = credentials(&section, folder);
    let honour_interval = section.get("honour_interval", typed::boolean);
    let verify_tls = section.get("verify_tls", typed::boolean);
    let (listen, credentials) = (listen?, credentials?);
    if !listen.ip().is_loopback() && credentials.is_empty() {
        section.error(
            "listen",
            format!(
                "{listen} can be reached from other hosts, and nobody's signature is asked for"
            ),
            "add credentials to [api], or listen on 127.0.0.1",
        );
    }
    // Without SO_REUSEPORT: a second process must not get it.
    claims.portolan(OwnSocket {
        addr: listen,
        shares_port: false,
        path: section.path_of("listen"),
        offset: section.offset_of("listen"),
    });
    Some(Some(Api {
        listen,
        account_id: account_id?,
        address_pool: address_pool?,
        credentials,
        honour_interval: honour_interval?,
        verify_tls: verify_tls?,
    }))
}

pub(super) fn account_id(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if given.len() == 12 && given.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not an account id"),
        "write twelve digits, such as \"000000000000\"",
    )
}

fn address_pool(section: &Section<'_>) -> Option<Vec<IpNet>> {
    if !section.gives("address_pool") {
        let default = values::prefix(DEFAULT_POOL).expect("the default is a prefix");
        return Some(vec![default]);
    }
    section.distinct("address_pool", parsed(pool_prefix))
}

/// Two addresses are the least that an accelerator takes.
fn pool_prefix(text: &str) -> Result<IpNet, ValueError> {
    let net = values::prefix(text)?;
    if net.addr().is_multicast() || net.prefix_len() + 1 >= net.max_prefix_len() {
        return fault(
            format!("\"{text}\" holds no two addresses to hand out"),
            "give a unicast prefix of at least four addresses, such as \"203.0.113.0/24\"",
        );
    }
    Ok(net)
}

fn credentials(section: &Section<'_>, folder: &Path) -> Option<Vec<Credential>> {
    let sections = section.children(Table::Credential)?;
    let mut ids = HashMap::new();
    let mut read = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let access_key_id = section.get("access_key_id", access_key_id);
        let file = section.get("secret_access_key_file", typed::path);
        let session_token_file = section.path_in("session_token_file", folder);
        if let Some(id) = &access_key_id
            && let Some(first) = ids.insert(id.clone(), index)
        {
            section.error(
                "access_key_id",
                format!("\"{id}\" is the id of credentials[{first}], too"),
                "give each key once",
            );
        }
        let given = access_key_id.zip(file).zip(session_token_file);
        read.push(
            given.map(|((access_key_id, file), session_token_file)| Credential {
                access_key_id,
                secret_access_key_file: folder.join(file),
                session_token_file,
            }),
        );
    }
    read.into_iter().collect()
}

fn access_key_id(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if (1..=128).contains(&given.len()) && given.bytes().all(plain) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not an access key id"),
        "use 1 to 128 letters, digits and underscores",
    )
}

pub(super) fn store(root: &Section<'_>, folder: &Path) -> Option<PathBuf> {
    let section = root.child(Table::Store)?;
    section
        .get("path", typed::path)
        .map(|path| folder.join(path))
}

pub(super) fn endpoint_aliases(root: &Section<'_>) -> Option<Vec<EndpointAlias>> {
    let sections = root.children(Table::EndpointAlias)?;
    let mut ids = HashMap::new();
    let mut read = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let id = section.get("id", typed::id);
        let address = section.get("address", parsed(alias_address));
        if let Some(id) = &id
            && let Some(first) = ids.insert(id.clone(), index)
        {
            section.error(
                "id",
                format!("\"{id}\" is the id of endpoint_alias[{first}], too"),
                "give each id once",
            );
        }
        read.push(
            id.zip(address)
                .map(|(id, address)| EndpointAlias { id, address }),
        );
    }
    read.into_iter().collect()
}

fn alias_address(text: &str) -> Result<AliasAddress, ValueError> {
    if text.contains('/') {
        return values::prefix(text).map(AliasAddress::Subnet);
    }
    values::endpoint_host(text).map(|(host, port)| AliasAddress::Endpoint(host, port))
}
