//! Whose signature a call carries: the process's own credentials, or those of a role in another account. Roles are assumed when
//! they are first needed and again before they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use portolan_config::model::AwsRole;
use tokio::sync::Mutex;

use super::Account;
use super::error::{ErrorClass, Fault};

/// Credentials are renewed so long before they end: a call and its retries fit in.
const BEFORE_EXPIRY: Duration = Duration::from_secs(300);

/// Credentials without an end are looked up again after so long: they may have been changed in their file.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

const SESSION_NAME: &str = "portolan";

/// All accounts that can be signed for.
pub(super) struct Accounts {
    base: SdkConfig,
    roles: HashMap<Arc<str>, AwsRole>,
    /// Providers of roles that were asked for; each keeps its own assumed credentials fresh within the SDK's cache.
    assumed: Mutex<HashMap<Arc<str>, SharedCredentialsProvider>>,
    kept: Mutex<HashMap<Account, Kept>>,
}

struct Kept {
    credentials: Credentials,
    until: SystemTime,
}

impl Accounts {
    pub(super) fn new(base: &SdkConfig, roles: &[AwsRole]) -> Self {
        let roles = roles
            .iter()
            .map(|role| (Arc::from(role.account_id.as_str()), role.clone()));
        Self {
            base: base.clone(),
            roles: roles.collect(),
            assumed: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The provider of an account; `None` is the process's own, which configurations carry already.
    pub(super) async fn provider(
        &self,
        account: &Account,
    ) -> Result<Option<SharedCredentialsProvider>, Fault> {
        let Account::Other(id) = account else {
            return Ok(None);
        };
        let Some(role) = self.roles.get(id) else {
            let message = format!("no role reads account {id}: add one to roles of [aws]");
            return Err(Fault::new(ErrorClass::Credentials, message));
        };
        let mut assumed = self.assumed.lock().await;
        if let Some(provider) = assumed.get(id) {
            return Ok(Some(provider.clone()));
        }
        let mut builder = AssumeRoleProvider::builder(&role.arn)
            .session_name(SESSION_NAME)
            .configure(&self.base);
        if let Some(external_id) = &role.external_id {
            builder = builder.external_id(external_id);
        }
        let provider = SharedCredentialsProvider::new(builder.build().await);
        assumed.insert(id.clone(), provider.clone());
        Ok(Some(provider))
    }

    /// Credentials that last for a while.
    pub(super) async fn credentials(&self, account: &Account) -> Result<Credentials, Fault> {
        let now = SystemTime::now();
        if let Some(kept) = self
            .kept
            .lock()
            .await
            .get(account)
            .filter(|kept| now < kept.until)
        {
            return Ok(kept.credentials.clone());
        }
        let provider = match self.provider(account).await? {
            Some(provider) => provider,
            None => self.base.credentials_provider().ok_or_else(|| {
                Fault::new(ErrorClass::Credentials, "there is no source of credentials")
            })?,
        };
        let fresh = provider.provide_credentials().await;
        let credentials = fresh.map_err(|error| Fault::of_credentials(&error))?;
        let until = match credentials.expiry() {
            Some(expiry) => expiry.checked_sub(BEFORE_EXPIRY).unwrap_or(now),
            None => now + LOOK_AGAIN,
        };
        let kept = Kept {
            credentials: credentials.clone(),
            until,
        };
        self.kept.lock().await.insert(account.clone(), kept);
        Ok(credentials)
    }
}
