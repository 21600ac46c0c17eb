//! Rules over the whole file: who listens where, and what is allowed but probably not meant.

use super::*;

/// A listener of protocol and ports on these addresses, with these endpoints.
fn accelerator(name: &str, addresses: &str, listener: &str, endpoints: &str) -> String {
    format!(
        "[[accelerator]]\nname = \"{name}\"\naddresses = [{addresses}]\n[[accelerator.listener]]\n{listener}\n\
         [[accelerator.listener.endpoint_group]]\nregion = \"r1\"\nendpoints = [{endpoints}]\n"
    )
}

const TCP_80: &str = "protocol = \"TCP\"\nports = [80]";
const ELSEWHERE: &str = "{ address = \"10.0.0.1\" }";

#[track_caller]
fn refuses(marked: &str, key: &str, words: &[&str]) {
    let (text, places) = unmark(marked);
    let found = errors(&text);
    let at: Vec<_> = found.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(at, places, "{found:#?}\nin\n{text}");
    assert_eq!(found[0].key, key);
    for word in words {
        assert!(found[0].to_string().contains(word), "{word}: {}", found[0]);
    }
}

#[track_caller]
fn warns(marked: &str, key: &str, words: &[&str]) {
    let (text, places) = unmark(marked);
    let found = load(&text).warnings;
    let at: Vec<_> = found.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(at, places, "{found:#?}\nin\n{text}");
    assert_eq!(found[0].key, key);
    for word in words {
        assert!(found[0].to_string().contains(word), "{word}: {}", found[0]);
    }
}

#[track_caller]
fn accepts(text: &str) {
    let warnings = load(text).warnings;
    assert!(warnings.is_empty(), "{warnings:#?}\nin\n{text}");
}

#[test]
fn accelerators_may_not_share_address_protocol_and_port() {
    let range = "protocol = \"TCP\"\nports = ¶[\"70-90\", 443]";
    let other = accelerator("b", "\"192.0.2.2\", \"192.0.2.1\"", range, ELSEWHERE);
    let both = accelerator("a", "\"192.0.2.1\"", TCP_80, ELSEWHERE) + &other;
    refuses(
        &both,
        "accelerator[1].listener[0].ports",
        &[
            "70-90 meets TCP 80",
            "accelerator[0].listener[0] on 192.0.2.1",
        ],
    );

    let wildcards = accelerator("a", "", TCP_80, ELSEWHERE)
        + &accelerator("b", "", "protocol = \"TCP\"\nports = ¶[80]", ELSEWHERE);
    refuses(
        &wildcards,
        "accelerator[1].listener[0].ports",
        &["on every address"],
    );
}

#[test]
fn a_named_address_beside_a_wildcard_another_protocol_and_other_ports_are_fine() {
    let first = accelerator("a", "", TCP_80, ELSEWHERE);
    accepts(&(first.clone() + &accelerator("b", "\"192.0.2.1\"", TCP_80, ELSEWHERE)));
    accepts(
        &(first.clone()
            + &accelerator(
                "b",
                "",
                "protocol = \"TCP\"\nports = [\"81-90\"]",
                ELSEWHERE,
            )),
    );
    let udp = accelerator("b", "", "protocol = \"UDP\"\nports = [80]", ELSEWHERE)
        .replace("region", "health_check = { protocol = \"TCP\" }\nregion");
    accepts(&(first + &udp));
}

#[test]
fn listeners_stay_clear_of_portolans_own_ports() {
    let wildcard = accelerator(
        "a",
        "",
        "protocol = \"TCP\"\nports = ¶[\"9000-9999\"]",
        ELSEWHERE,
    );
    refuses(
        &wildcard,
        "accelerator[0].listener[0].ports",
        &["9000-9999 holds 9900, where admin.listen is"],
    );

    let same = accelerator(
        "a",
        "\"127.0.0.1\"",
        "protocol = \"TCP\"\nports = ¶[9900]",
        ELSEWHERE,
    );
    refuses(&same, "accelerator[0].listener[0].ports", &["admin.listen"]);

    let named = |address: &str| {
        let listener = "protocol = \"TCP\"\nports = ¶[80]";
        accelerator("a", address, listener, ELSEWHERE)
    };
    let everywhere = "[admin]\ntoken_file = \"t\"\nlisten = \"0.0.0.0:80\"\n";
    let ports = "accelerator[0].listener[0].ports";
    refuses(
        &format!("{everywhere}{}", named("\"192.0.2.1\"")),
        ports,
        &["admin.listen"],
    );
    accepts(&format!("{everywhere}{}", named("\"2001:db8::1\"")).replace('¶', ""));

    let same = "[readiness]\nlisten = \"192.0.2.1:80\"\n";
    refuses(
        &format!("{same}{}", named("\"192.0.2.1\"")),
        ports,
        &["readiness.listen"],
    );
    refuses(
        &format!("{same}{}", named("")),
        ports,
        &["readiness.listen"],
    );
    let everywhere = "[readiness]\nlisten = \"0.0.0.0:80\"\n";
    refuses(
        &format!("{everywhere}{}", named("")),
        ports,
        &["readiness.listen"],
    );
    accepts(&format!("{everywhere}{}", named("\"192.0.2.1\"")).replace('¶', ""));
    accepts(&accelerator(
        "a",
        "\"192.0.2.1\"",
        "protocol = \"TCP\"\nports = [9900]",
        ELSEWHERE,
    ));
    let udp = accelerator("a", "", "protocol = \"UDP\"\nports = [9900]", "");
    assert_eq!(
        load(&udp).warnings.len(),
        1,
        "only that UDP is asked over TCP"
    );
    accepts(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[readiness]\nlisten = \"127.0.0.1:0\"\n[[accelerator]]\nname=\"a\"\n\
             [[accelerator.listener]]\nprotocol=\"TCP\"\nports=[80]\n[[accelerator.listener.endpoint_group]]\nregion=\"r\"\n",
    );
}

#[test]
fn a_wildcard_may_not_cover_a_port_of_an_endpoint_on_this_host() {
    let covers = |address: &str| {
        let endpoints = format!("{{ address = \"{address}\" }}");
        accelerator(
            "a",
            "",
            "protocol = \"TCP\"\nports = ¶[\"8000-8100\"]",
            &endpoints,
        )
    };
    let ports = "accelerator[0].listener[0].ports";
    refuses(
        &covers("127.0.0.1:8080"),
        ports,
        &["8000-8100 on every address holds port 8080", "endpoints[0]"],
    );
    refuses(&covers("127.0.0.1"), ports, &["8000"]);
    refuses(&covers("[::1]:8080"), ports, &["::1"]);
    let own = format!(
        "[pop]\naddresses = [\"198.51.100.7\"]\n{}",
        covers("198.51.100.7:8080")
    );
    refuses(&own, ports, &["198.51.100.7"]);

    accepts(&covers("127.0.0.1:8200").replace('¶', ""));
    accepts(&covers("10.0.0.1:8080").replace('¶', ""));
    accepts(
        &covers("127.0.0.1:8080")
            .replace('¶', "")
            .replace("addresses = []", "addresses = [\"192.0.2.1\"]"),
    );
}

#[test]
fn overrides_decide_which_port_of_an_endpoint_counts() {
    let text = accelerator(
        "a",
        "",
        "protocol = \"TCP\"\nports = [80]",
        "{ address = \"127.0.0.1\" }",
    );
    let overridden = "port_overrides = [{ listener_port = 80, endpoint_port = 8080 }]\nregion";
    accepts(&text.replace("region", overridden));
    let other = accelerator("b", "", "protocol = \"TCP\"\nports = ¶[8080]", ELSEWHERE);
    let both = text.replace("region", overridden) + &other;
    refuses(&both, "accelerator[1].listener[0].ports", &["8080"]);
}

#[test]
fn an_endpoint_may_be_another_listener_of_ours_but_not_the_same() {
    let inner = accelerator(
        "inner",
        "\"127.0.0.2\"",
        "protocol = \"TCP\"\nports = [8080]",
        ELSEWHERE,
    );
    let outer = accelerator(
        "outer",
        "",
        "protocol = \"TCP\"\nports = [\"8000-8100\"]",
        "{ address = \"127.0.0.2:8080\" }",
    );
    accepts(&(inner + &outer));

    let looped = accelerator("a", "\"127.0.0.2\"", TCP_80, "{ address = ¶\"127.0.0.2\" }");
    let key = "accelerator[0].listener[0].endpoint_group[0].endpoints[0].address";
    refuses(&looped, key, &["127.0.0.2 port 80 is this listener itself"]);
}

#[test]
fn rules_are_checked_beside_other_errors() {
    let text = "[pop]\nworkers = ¶-1\n".to_string()
        + &accelerator("a", "", TCP_80, "{ address = \"10.0.0.1\", weight = ¶256 }")
        + &accelerator("b", "", "protocol = \"TCP\"\nports = ¶[80]", ELSEWHERE);
    refuses(&text, "pop.workers", &[]);

    let endpoints = "{ address = \"10.0.0.1\", weight = ¶256 }, { address = \"127.0.0.1\" }";
    let text = accelerator("a", "", "protocol = \"TCP\"\nports = ¶[80]", endpoints);
    refuses(&text, "accelerator[0].listener[0].ports", &["endpoints[1]"]);
}

#[test]
fn what_serves_nobody_is_a_warning() {
    warns("¶", "accelerator", &["nothing is served"]);
    warns(
        "¶[[accelerator]]\nname = \"a\"",
        "accelerator[0].listener",
        &["no listener"],
    );
    let no_group = "[[accelerator]]\nname = \"a\"\n¶[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [80]";
    warns(
        no_group,
        "accelerator[0].listener[0].endpoint_group",
        &["refused"],
    );
    let weightless = endpoints("{ address = \"10.0.0.1\", weight = 0 }").replace("[{", "¶[{");
    warns(
        &weightless,
        "accelerator[0].listener[0].endpoint_group[0].endpoints",
        &["every weight is 0"],
    );
    let dialled =
        group("traffic_dial = 0").replace("[[accelerator.listener.e", "¶[[accelerator.listener.e");
    warns(
        &dialled,
        "accelerator[0].listener[0].endpoint_group",
        &["every traffic_dial is 0"],
    );
    accepts(&endpoints(""));
}

#[test]
fn what_is_not_asked_is_a_warning() {
    let of = |key: &str| format!("accelerator[0].listener[0].endpoint_group[0].health_check{key}");
    warns(&check("path = ¶\"/\""), &of(".path"), &["does not ask it"]);
    warns(
        &check("protocol = \"HTTP\", verify_tls = ¶true"),
        &of(".verify_tls"),
        &["does not ask it"],
    );
    let udp = group("endpoints = []")
        .replace("TCP", "UDP")
        .replace("[[accelerator.listener.e", "¶[[accelerator.listener.e");
    warns(&udp, &of(""), &["asked over TCP"]);
    accepts(
        &check("")
            .replace("\"TCP\"", "\"UDP\"")
            .replace("{  }", "{ protocol = \"NONE\" }"),
    );
    let nameless = check("protocol = \"HTTPS\"")
        .replace("web.internal", "10.0.0.1")
        .replace("{ protocol", "¶{ protocol");
    warns(&nameless, &of(".verify_tls"), &["not verified"]);
    accepts(
        &check("protocol = \"HTTPS\", sni = \"a.example\", verify_tls = true")
            .replace("web.internal", "10.0.0.1"),
    );
}

#[test]
fn settings_without_effect_are_a_warning() {
    let late =
        listener("hedge_after = ¶\"6s\"\n[[accelerator.listener.endpoint_group]]\nregion = \"r1\"");
    warns(
        &late,
        "accelerator[0].listener[0].hedge_after",
        &["connect_timeout, 5s"],
    );
    let udp = listener(
        "keepalive = ¶\"5s\"\n[[accelerator.listener.endpoint_group]]\nregion = \"r1\"\nhealth_check.protocol = \"TCP\"",
    );
    let udp = udp.replacen("protocol = \"TCP\"", "protocol = \"UDP\"", 1);
    warns(
        &udp,
        "accelerator[0].listener[0].keepalive",
        &["nothing about UDP"],
    );
}
