//! A world on paper: places, the links between them, who has which address. Nothing here touches the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The accelerators' addresses: IPv4 and IPv6 in turn, two of each. RFC 5737 and RFC 3849 keep them out of the real world.
pub const VIPS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 11)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)),
];

/// The autonomous system of every PoP.
pub(crate) const POP_AS: u32 = 65_100;

/// Endpoints that a region has addresses for.
const ENDPOINTS: u8 = 4;

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The Internet's: speaks BGP with its neighbours, in an autonomous system of its own.
    Router(u32),
    /// Takes clients at [`VIPS`].
    Pop,
    /// Has endpoints.
    Region,
    /// Has users.
    Client,
}

/// A network namespace to be.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name, and that of its neighbours' interfaces toward it.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// From 1, in its role.
    number: u8,
}

/// A link to be.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its ends, by index into the places.
    pub(crate) ends: [usize; 2],
    /// What it does to packets at first.
    pub(crate) settings: String,
}

/// Who brings [`VIPS`] to the PoPs, and announces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vips {
    /// The lab, for good: they are on `lo`, and BIRD announces them as static routes.
    OfTheLab,
    /// Whoever is tested.
    OfTheTest,
}

/// A world.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) places: Vec<Place>,
    pub(crate) links: Vec<Link>,
    pub(crate) vips: Vips,
}

/// A place's own addresses of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl World {
    /// Three routers, two PoPs, three regions, three clients around the Atlantic. Each PoP has a backbone of its own to the regions, a
    /// little better than the Internet.
    ///
    /// ```text
    /// c-nyc 5ms r-use(64501) 32ms r-usw(64502) 5ms c-sea      pop-iad 0.5ms r-use   pop-fra 0.5ms r-eu   (AS 65100)
    ///            36ms \        / 66ms                          us-east-1 1ms r-use, us-west-2 1ms r-usw, eu-west-1 1ms r-eu
    ///               r-eu(64503) 8ms c-ber                      backbone: pop-iad 1, 30, 34 ms; pop-fra 37, 64, 4 ms
    /// ```
    pub fn atlantic() -> World {
        let mut world = World::empty();
        for (name, number) in [("r-use", 64_501), ("r-usw", 64_502), ("r-eu", 64_503)] {
            world.add(name, Role::Router(number));
        }
        for (role, names) in [
            (Role::Pop, &["pop-iad", "pop-fra"][..]),
            (Role::Region, &["us-east-1", "us-west-2", "eu-west-1"]),
            (Role::Client, &["c-nyc", "c-sea", "c-ber"]),
        ] {
            for name in names {
                world.add(name, role);
            }
        }
        for (a, b, delay) in [
            ("r-use", "r-usw", "32ms"),
            ("r-use", "r-eu", "36ms"),
            ("r-usw", "r-eu", "66ms"),
            ("c-nyc", "r-use", "5ms"),
            ("c-sea", "r-usw", "5ms"),
            ("c-ber", "r-eu", "8ms"),
            ("pop-iad", "r-use", "500us"),
            ("pop-fra", "r-eu", "500us"),
            ("us-east-1", "r-use", "1ms"),
            ("us-west-2", "r-usw", "1ms"),
            ("eu-west-1", "r-eu", "1ms"),
            ("pop-iad", "us-east-1", "1ms"),
            ("pop-iad", "us-west-2", "30ms"),
            ("pop-iad", "eu-west-1", "34ms"),
            ("pop-fra", "us-east-1", "37ms"),
            ("pop-fra", "us-west-2", "64ms"),
            ("pop-fra", "eu-west-1", "4ms"),
        ] {
            world = world.link(a, b, &format!("delay={delay}"));
        }
        world
    }

    /// One PoP `pop`, one client `client` 5 ms away, and regions at the one-way delays given. No router, no BGP: up at once.
    pub fn star(regions: &[(&str, &str)]) -> World {
        let mut world = World::empty();
        world.add("pop", Role::Pop);
        world.add("client", Role::Client);
        world = world.link("client", "pop", "delay=5ms");
        for (name, delay) in regions {
            world.add(name, Role::Region);
            world = world.link("pop", name, &format!("delay={delay}"));
        }
        world
    }

    /// A world of nothing.
    pub fn empty() -> World {
        World {
            places: Vec::new(),
            links: Vec::new(),
            vips: Vips::OfTheLab,
        }
    }

    /// Leaves [`VIPS`] to whoever is tested.
    pub fn without_vips(mut self) -> World {
        self.vips = Vips::OfTheTest;
        self
    }

    /// Adds a place.
    pub fn place(mut self, name: &str, role: Role) -> World {
        self.add(name, role);
        self
    }

    /// Adds a link, with settings such as `delay=5ms`.
    ///
    /// # Panics
    /// When an end is not a place.
    pub fn link(mut self, a: &str, b: &str, settings: &str) -> World {
        let ends = [self.index(a), self.index(b)];
        let settings = settings.to_owned();
        self.links.push(Link { ends, settings });
        self
    }

    fn add(&mut self, name: &str, role: Role) {
        let alike =
            |place: &&Place| std::mem::discriminant(&place.role) == std::mem::discriminant(&role);
        let number = self.places.iter().filter(alike).count() as u8 + 1;
        self.places.push(Place {
            name: name.to_owned(),
            role,
            number,
        });
    }

    /// All places that are this.
    pub fn places_of(&self, role: Role) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.role == role)
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        self.places
            .iter()
            .position(|place| place.name == name)
            .unwrap_or_else(|| panic!("there is no place {name}"))
    }

    /// The link between two places and whether it was made the other way round.
    pub(crate) fn link_between(&self, a: usize, b: usize) -> Option<usize> {
        self.links
            .iter()
            .position(|link| link.ends == [a, b] || link.ends == [b, a])
    }

    pub(crate) fn link_name(&self, link: usize) -> String {
        let [a, b] = self.links[link].ends;
        format!("{}--{}", self.places[a].name, self.places[b].name)
    }

    /// The places that `place` has a link to.
    pub(crate) fn neighbours(&self, place: usize) -> impl Iterator<Item = usize> {
        self.links.iter().filter_map(move |link| match link.ends {
            [a, b] if a == place => Some(b),
            [a, b] if b == place => Some(a),
            _ => None,
        })
    }

    /// Whether there is BGP in it.
    pub(crate) fn has_routers(&self) -> bool {
        self.places.iter().any(Place::is_router)
    }

    /// How long a packet takes from one neighbour to the other, as their link was made.
    ///
    /// # Panics
    /// When there is no such link.
    pub fn delay_between(&self, a: &str, b: &str) -> Duration {
        let link = self.link_between(self.index(a), self.index(b));
        let link = link.unwrap_or_else(|| panic!("no link between {a} and {b}"));
        let settings = super::wan::parse(&self.links[link].settings);
        settings.expect("the words are right").delay
    }

    /// The addresses of two neighbours on their link.
    ///
    /// # Panics
    /// When there is no such link.
    pub fn on_the_link(&self, a: &str, b: &str) -> (Both, Both) {
        let index = |name: &str| self.places.iter().position(|place| place.name == name);
        let (a, b) = (index(a).expect("a place"), index(b).expect("a place"));
        (self.on_link(a, b), self.on_link(b, a))
    }

    /// The address of `place` on its link to `peer`.
    pub(crate) fn on_link(&self, place: usize, peer: usize) -> Both {
        let link = self
            .link_between(place, peer)
            .expect("neighbours have a link");
        let end = u8::from(self.links[link].ends[1] == place);
        Both {
            v4: Ipv4Addr::new(10, 255, link as u8, end),
            v6: Ipv6Addr::new(0xfd00, 0x255, link as u16, 0, 0, 0, 0, end.into()),
        }
    }
}

impl Place {
    /// Its own addresses.
    pub fn own(&self) -> Both {
        let number = u16::from(self.number);
        match self.role {
            Role::Router(_) => Both {
                v4: Ipv4Addr::new(10, 100, 0, self.number),
                v6: Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0, number),
            },
            Role::Pop => Both {
                v4: Ipv4Addr::new(10, 100 + self.number, 0, 1),
                v6: Ipv6Addr::new(0xfd00, 0x100 + number, 0, 0, 0, 0, 0, 1),
            },
            Role::Region => self.in_region(1),
            Role::Client => Both {
                v4: Ipv4Addr::new(198, 51, 100, self.number * 10),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0xc, number, 0, 0, 0, 0x10),
            },
        }
    }

    /// A region's endpoint `index`, from 1.
    ///
    /// # Panics
    /// When this is no region, or has not so many.
    pub fn endpoint(&self, index: u8) -> Both {
        assert_eq!(self.role, Role::Region, "{} has no endpoints", self.name);
        assert!(
            (1..=ENDPOINTS).contains(&index),
            "{} has {ENDPOINTS}",
            self.name
        );
        self.in_region(10 + index)
    }

    /// Everything that is on its `lo`, without [`VIPS`].
    pub(crate) fn on_loopback(&self) -> Vec<Both> {
        let mut all = vec![self.own()];
        if self.role == Role::Region {
            all.extend((1..=ENDPOINTS).map(|index| self.endpoint(index)));
        }
        all
    }

    /// The prefixes behind it.
    pub(crate) fn prefixes(&self) -> [String; 2] {
        let Both { v4, v6 } = self.own();
        match self.role {
            Role::Region => [
                format!("10.{}.0.0/16", self.number),
                format!("fd00:{:x}::/32", self.number),
            ],
            Role::Router(_) | Role::Pop | Role::Client => [format!("{v4}/32"), format!("{v6}/128")],
        }
    }

    pub(crate) fn is_router(&self) -> bool {
        matches!(self.role, Role::Router(_))
    }

    /// Whether it runs BIRD in a world with routers.
    pub(crate) fn speaks_bgp(&self) -> bool {
        matches!(self.role, Role::Router(_) | Role::Pop)
    }

    fn in_region(&self, host: u8) -> Both {
        Both {
            v4: Ipv4Addr::new(10, self.number, 0, host),
            v6: Ipv6Addr::new(0xfd00, self.number.into(), 0, 0, 0, 0, 0, host.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_places_share_an_address() {
        let world = World::atlantic();
        let mut seen = BTreeSet::new();
        for place in &world.places {
            for both in place.on_loopback() {
                assert!(
                    seen.insert(both.v4.to_string()),
                    "{}: {}",
                    place.name,
                    both.v4
                );
                assert!(
                    seen.insert(both.v6.to_string()),
                    "{}: {}",
                    place.name,
                    both.v6
                );
            }
        }
        for link in &world.links {
            let [a, b] = link.ends;
            assert_ne!(world.on_link(a, b), world.on_link(b, a));
        }
    }

    #[test]
    fn a_star_has_its_pop_in_the_middle() {
        let world = World::star(&[("near", "1ms"), ("far", "30ms")]);
        let pop = world.index("pop");
        assert_eq!(world.neighbours(pop).count(), 3);
        assert!(!world.has_routers());
        assert_eq!(
            world.places[world.index("far")].endpoint(2).v4,
            Ipv4Addr::new(10, 2, 0, 12)
        );
    }
}
