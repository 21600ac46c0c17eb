//! What file, API and AWS ask for, merged into one configuration. The file comes first, and its names go before those of others.

use std::collections::HashSet;
use std::sync::Arc;

use portolan_config::model::{Accelerator, Config, EndpointGroup, Source};
use portolan_config::units::{AcceleratorName, TrafficDial};

/// Endpoints that one source adds to an accelerator of another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fill {
    /// Whose groups of this region get them, under every listener.
    pub(crate) accelerator: AcceleratorName,
    /// The region, the endpoints, and everything else for a listener that has no group there.
    pub(crate) group: EndpointGroup,
    /// The dial of the group, whoever has made it, when it is said.
    pub(crate) dial: Option<TrafficDial>,
}

/// Each source's part.
pub(crate) struct Sources {
    file: Arc<Config>,
    api: Vec<Accelerator>,
    aws: Vec<Accelerator>,
    fills: Vec<Fill>,
}

impl Sources {
    /// From a configuration that may hold accelerators of every source.
    pub(crate) fn new(config: &Config) -> Sources {
        let of = |source: Source| {
            config
                .accelerators
                .iter()
                .filter(move |a| a.source == source)
                .cloned()
        };
        let file = Config {
            accelerators: of(Source::File).collect(),
            ..config.clone()
        };
        Sources {
            file: Arc::new(file),
            api: of(Source::Api).collect(),
            aws: of(Source::Aws).collect(),
            fills: Vec::new(),
        }
    }

    /// What the file says.
    pub(crate) fn file(&self) -> &Config {
        &self.file
    }

    /// The file says something else.
    pub(crate) fn set_file(&mut self, config: Config) {
        self.file = Arc::new(config);
    }

    /// Another source than the file asks for something else; whether it differs from before. The file's own part comes with the file.
    pub(crate) fn set(&mut self, source: Source, accelerators: Vec<Accelerator>) -> bool {
        let part = match source {
            Source::File => return false,
            Source::Api => &mut self.api,
            Source::Aws => &mut self.aws,
        };
        let differs = *part != accelerators;
        *part = accelerators;
        differs
    }

    /// Other endpoints are to be added; whether they differ from before.
    pub(crate) fn set_fills(&mut self, fills: Vec<Fill>) -> bool {
        let differs = self.fills != fills;
        self.fills = fills;
        differs
    }

    /// Everything. Of two accelerators with one name the later is served under another one: names tell them apart.
    pub(crate) fn merged(&self) -> Config {
        let mut names = HashSet::new();
        let mut accelerators =
            Vec::with_capacity(self.file.accelerators.len() + self.api.len() + self.aws.len());
        for accelerator in self
            .file
            .accelerators
            .iter()
            .chain(&self.api)
            .chain(&self.aws)
        {
            let mut accelerator = accelerator.clone();
            if !names.insert(accelerator.name.clone()) {
                accelerator.name = beside(&accelerator.name, accelerator.source);
                names.insert(accelerator.name.clone());
            }
            accelerators.push(accelerator);
        }
        for fill in &self.fills {
            if let Some(accelerator) = accelerators.iter_mut().find(|a| a.name == fill.accelerator)
            {
                add(accelerator, fill);
            }
        }
        Config {
            accelerators,
            ..(*self.file).clone()
        }
    }
}

/// Adds a group's endpoints to the groups of its region; an endpoint that is there already stays as it is.
fn add(
    accelerator: &mut Accelerator,
    Fill {
        group: filling,
        dial,
        ..
    }: &Fill,
) {
    for listener in &mut accelerator.listeners {
        let groups = &mut listener.endpoint_groups;
        match groups
            .iter_mut()
            .find(|group| group.region == filling.region)
        {
            None => groups.push(filling.clone()),
            Some(group) => {
                let ids: HashSet<_> = group
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.id.clone())
                    .collect();
                let new = filling
                    .endpoints
                    .iter()
                    .filter(|endpoint| !ids.contains(&endpoint.id));
                group.endpoints.extend(new.cloned());
                group.traffic_dial = dial.unwrap_or(group.traffic_dial);
            }
        }
    }
}

/// The name that an accelerator is served under when another source has its own.
pub(crate) fn beside(name: &AcceleratorName, source: Source) -> AcceleratorName {
    AcceleratorName::new(format!("{name}@{}", source.as_str()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portolan_config::file;

    use super::*;

    fn config() -> Config {
        let text = "[[accelerator]]\nname = \"shop\"\naddresses = [\"192.0.2.1\"]\n";
        file::parse(text, Path::new("test.toml"))
            .expect("a valid file")
            .config
    }

    #[test]
    fn the_files_names_go_before_those_of_others() {
        let mut sources = Sources::new(&config());
        let of_api = Accelerator {
            source: Source::Api,
            ..config().accelerators[0].clone()
        };
        assert!(sources.set(Source::Api, vec![of_api.clone()]));
        assert!(!sources.set(Source::Api, vec![of_api]));
        let merged = sources.merged();
        let names: Vec<&str> = merged
            .accelerators
            .iter()
            .map(|a| a.name.as_str())
            .collect();
        assert_eq!(names, ["shop", "shop@api"]);
        let again = Sources::new(&merged);
        assert_eq!(
            (
                again.file().accelerators.len(),
                again.api.len(),
                again.aws.len()
            ),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_new_file_leaves_the_others_parts_alone() {
        let mut sources = Sources::new(&config());
        let of_api = Accelerator {
            source: Source::Api,
            name: AcceleratorName::new("a"),
            ..config().accelerators[0].clone()
        };
        sources.set(Source::Api, vec![of_api]);
        sources.set_file(Config {
            accelerators: Vec::new(),
            ..config()
        });
        assert_eq!(sources.merged().accelerators.len(), 1);
    }
}
