//! The embedded store: one redb file, opened by one process. redb commits by writing beside what is there and switching over,
//! so that a crash at any moment leaves the last commit whole.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, Records, SCHEMA, Store, StoreError, Table};

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("portolan");
const SCHEMA_KEY: &str = "schema";

/// The file.
pub struct Embedded {
    database: Database,
    path: PathBuf,
}

impl Embedded {
    /// Opens it, or makes it when it is not there.
    pub fn open(path: &Path) -> Result<Embedded, StoreError> {
        let database = Database::create(path).map_err(|error| {
            let path = path.to_owned();
            if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                return StoreError::Busy { path };
            }
            let source = error.into();
            StoreError::Failed { path, source }
        })?;
        let store = Embedded {
            database,
            path: path.to_owned(),
        };
        let found = store.settle_schema().map_err(|error| store.failed(error))?;
        match found {
            found if found > SCHEMA => Err(StoreError::Newer {
                path: path.to_owned(),
                found,
            }),
            _ => Ok(store),
        }
    }

    /// The file's schema; a new file gets ours.
    fn settle_schema(&self) -> Result<u32, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(SCHEMA_KEY)?.map(|guard| guard.value());
            if found.is_none() {
                meta.insert(SCHEMA_KEY, SCHEMA)?;
            }
            for table in Table::ALL {
                transaction.open_table(definition(table))?;
            }
            found.unwrap_or(SCHEMA)
        };
        transaction.commit()?;
        Ok(found)
    }

    fn failed(&self, error: redb::Error) -> StoreError {
        StoreError::Failed {
            path: self.path.clone(),
            source: error.into(),
        }
    }

    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        for Change { table, key, value } in changes {
            let mut table = transaction.open_table(definition(*table))?;
            match value {
                Some(value) => table.insert(key.as_str(), value.to_string().as_str())?,
                None => table.remove(key.as_str())?,
            };
        }
        transaction.commit()?;
        Ok(())
    }

    /// Keys and texts of a table.
    fn read(&self, table: Table) -> Result<Vec<(String, String)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(definition(table))?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_owned()));
        }
        Ok(rows)
    }
}

impl Store for Embedded {
    fn load(&self) -> Result<Records, StoreError> {
        let mut records = Records::new();
        for table in Table::ALL {
            let rows = self.read(table).map_err(|error| self.failed(error))?;
            let into = records.entry(table).or_default();
            for (key, text) in rows {
                match serde_json::from_str(&text) {
                    Ok(value) => into.insert(key, value),
                    Err(source) => {
                        return Err(StoreError::Broken {
                            path: self.path.clone(),
                            table,
                            key,
                            source,
                        });
                    }
                };
            }
        }
        Ok(records)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(changes).map_err(|error| self.failed(error))
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static str> {
    TableDefinition::new(match table {
        Table::Accelerators => "accelerators",
        Table::Listeners => "listeners",
        Table::EndpointGroups => "endpoint_groups",
        Table::Attachments => "attachments",
        Table::ByoipCidrs => "byoip_cidrs",
        Table::Tokens => "tokens",
        Table::Meta => "meta",
    })
}
