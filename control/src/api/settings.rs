//! What `[api]` says, as operations need it. It holds from start to end of the process.

use ipnet::IpNet;
use portolan_config::model::Api;

use super::arn::Account;

/// The settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) account: Account,
    pub(crate) address_pool: Vec<IpNet>,
    pub(crate) honour_interval: bool,
    pub(crate) verify_tls: bool,
}

impl Settings {
    /// From the file's table.
    pub(crate) fn of(api: &Api) -> Settings {
        let Api {
            listen: _,
            account_id,
            address_pool,
            credentials: _,
            honour_interval,
            verify_tls,
        } = api;
        Settings {
            account: Account(account_id.clone()),
            address_pool: address_pool.clone(),
            honour_interval: *honour_interval,
            verify_tls: *verify_tls,
        }
    }
}
