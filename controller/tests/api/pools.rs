//! `/v1/pools`: every route, every status.

use crate::fixture::Api;
use serde_json::json;

#[tokio::test]
async fn a_pool_is_created_shown_and_deleted() {
    let api = Api::new().await;
    let body = json!({
        "name": "default", "subnets": ["10.64.0.0/16", "fd00:64::/64"], "exclude": ["10.64.0.0/28"],
        "block_size": 28, "block_gateway": "first"
    });
    let created = api.ok(201, "POST", "/v1/pools", &body.to_string()).await;
    let expected = json!({
        "name": "default", "subnets": ["10.64.0.0/16", "fd00:64::/64"], "exclude": ["10.64.0.0/28"],
        "block_size": 28, "block_size_v6": 124, "block_gateway": "first", "disabled": false,
        "usage": [
            {"family": "ipv4", "blocks": 4095, "leased": 0},
            {"family": "ipv6", "blocks": 1_u64 << 60, "leased": 0},
        ]
    });
    assert_eq!(created, expected);
    assert_eq!(api.ok(200, "GET", "/v1/pools", "").await, json!({"items": [expected]}));
    let shown = api.ok(200, "GET", "/v1/pools/default", "").await;
    assert_eq!(shown["usage"][0], json!({"family": "ipv4", "blocks": 4095, "leased": 0, "allocated": 0}));
    assert_eq!(api.ok(200, "DELETE", "/v1/pools/default", "").await["name"], "default");
    api.fails(404, "GET", "/v1/pools/default", "", &["there is no pool default", "coilctl pool list"]).await;
    api.fails(404, "DELETE", "/v1/pools/default", "", &["there is no pool default"]).await;
    api.create("default", &["10.64.0.0/16"]).await;
}

#[tokio::test]
async fn extremes_have_counts() {
    let api = Api::new().await;
    for (name, subnet, block, blocks) in
        [("all4", "0.0.0.0/0", "22", json!(4_194_304)), ("all6", "::/0", "124", json!(u64::MAX))]
    {
        let body = format!(
            r#"{{"name":"{name}","subnets":["{subnet}"],"block_size":{},"block_size_v6":124}}"#,
            if name == "all4" { block } else { "28" }
        );
        let view = api.ok(201, "POST", "/v1/pools", &body).await;
        assert_eq!(view["usage"][0]["blocks"], blocks, "{view}");
    }
}

#[tokio::test]
async fn what_can_not_be_created() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/16", "fd00::/64"]).await;
    for (status, body, reasons) in [
        (400, "", &["must be a JSON object"][..]),
        (400, "{", &["EOF"]),
        (400, r#"{"name":"x"}"#, &["the pool has no subnet", "`subnets`"]),
        (400, r#"{"name":"X","subnets":["10.0.0.0/24"]}"#, &["name: pool name \"X\" is malformed"]),
        (400, r#"{"name":"x","subnets":["10.0.0.0/24","10.0.0/8"]}"#, &["subnets[1]: invalid IP"]),
        (400, r#"{"name":"x","subnets":["10.0.0.0/24"],"block_size":"28"}"#, &["block_size: invalid type"]),
        (400, r#"{"name":"x","subnets":["10.0.0.0/24"],"blocksize":28}"#, &["unknown field `blocksize`"]),
        (400, r#"{"name":"x","subnets":[]}"#, &["the pool has no subnet"]),
        (400, r#"{"name":"x","subnets":["10.0.0.1/24"]}"#, &["did you mean 10.0.0.0/24"]),
        (400, r#"{"name":"x","subnets":["10.0.0.0/29"]}"#, &["smaller than a block (/28)"]),
        (400, r#"{"name":"x","subnets":["10.0.0.0/24"],"block_size":8}"#, &["block_size 8 is not between"]),
        (
            400,
            r#"{"name":"x","subnets":["10.0.0.0/24","10.0.0.0/28"]}"#,
            &["10.0.0.0/24 and 10.0.0.0/28 overlap"],
        ),
        (
            400,
            r#"{"name":"x","subnets":["10.0.0.0/24"],"exclude":["10.1.0.0/30"]}"#,
            &["exclude 10.1.0.0/30 lies in no"],
        ),
        (
            400,
            r#"{"name":"x","subnets":["10.0.0.0/24"],"exclude":["10.0.0.0/24"]}"#,
            &["leave no ipv4 address"],
        ),
        (
            409,
            r#"{"name":"default","subnets":["10.0.0.0/24"]}"#,
            &["pool default exists already", "add-subnet"],
        ),
        (
            409,
            r#"{"name":"x","subnets":["10.0.0.0/24","10.64.9.0/24"]}"#,
            &["subnet 10.64.9.0/24 overlaps 10.64.0.0/16 of pool default"],
        ),
        (409, r#"{"name":"x","subnets":["fd00::/48"]}"#, &["overlaps fd00::/64 of pool default"]),
    ] {
        api.fails(status, "POST", "/v1/pools", body, reasons).await;
    }
    assert_eq!(api.pages("/v1/pools", 500).await.len(), 1, "nothing was written");
}

#[tokio::test]
async fn subnets_come_and_go() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/24"]).await;
    api.create("other", &["10.65.0.0/24"]).await;
    let path = "/v1/pools/default/subnets";
    let body = r#"{"subnet":"10.66.0.0/24","exclude":["10.66.0.0/28"]}"#;
    let view = api.ok(200, "POST", path, body).await;
    assert_eq!(view["subnets"], json!(["10.64.0.0/24", "10.66.0.0/24"]));
    assert_eq!((&view["exclude"], &view["usage"][0]["blocks"]), (&json!(["10.66.0.0/28"]), &json!(31)));
    for (status, body, reasons) in [
        (400, r#"{"subnet":"10.67.0.0"}"#, &["subnet: invalid IP address syntax"][..]),
        (400, r#"{"subnet":"10.67.0.1/24"}"#, &["did you mean"]),
        (
            400,
            r#"{"subnet":"10.67.0.0/24","exclude":["10.64.0.0/28"]}"#,
            &["lies in no subnet", "10.67.0.0/24"],
        ),
        (400, r#"{"subnet":"10.66.0.0/25"}"#, &["10.66.0.0/24 and 10.66.0.0/25 overlap"]),
        (409, r#"{"subnet":"10.66.0.0/24"}"#, &["in pool default already"]),
        (409, r#"{"subnet":"10.64.0.0/15"}"#, &["overlap"]),
    ] {
        let status = if body.contains("/15") { 400 } else { status };
        api.fails(status, "POST", path, body, reasons).await;
    }
    api.fails(409, "POST", path, r#"{"subnet":"10.65.0.0/25"}"#, &["10.65.0.0/24 of pool other"]).await;
    api.fails(404, "POST", "/v1/pools/none/subnets", r#"{"subnet":"10.9.0.0/24"}"#, &["no pool none"]).await;

    api.register("n1", true).await;
    api.lease("n1", "default", "10.66.0.255").await.expect("leased");
    let removed = r#"{"subnet":"10.66.0.0/24"}"#;
    api.fails(
        409,
        "DELETE",
        path,
        removed,
        &["1 block is leased by n1 in subnet 10.66.0.0/24", "pool disable"],
    )
    .await;
    api.release("n1", "default", "10.66.0.255").await;
    let view = api.ok(200, "DELETE", path, removed).await;
    assert_eq!((&view["subnets"], view.get("exclude")), (&json!(["10.64.0.0/24"]), None));
    api.fails(404, "DELETE", path, removed, &["has no subnet 10.66.0.0/24; it has 10.64.0.0/24"]).await;
    api.fails(409, "DELETE", path, r#"{"subnet":"10.64.0.0/24"}"#, &["last subnet", "coilctl pool delete"])
        .await;
    api.fails(400, "DELETE", path, r#"{"subnet":"10.64.0.0/24","x":1}"#, &["unknown field `x`"]).await;
}

#[tokio::test]
async fn a_disabled_pool_gives_no_block() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/24"]).await;
    for _ in 0..2 {
        assert_eq!(api.ok(200, "PUT", "/v1/pools/default/disabled", "").await["disabled"], true);
    }
    assert!(api.lease("n1", "default", "10.64.0.0").await.is_err());
    assert_eq!(api.ok(200, "DELETE", "/v1/pools/default/disabled", "").await["disabled"], false);
    api.lease("n1", "default", "10.64.0.0").await.expect("enabled again");
    api.fails(404, "PUT", "/v1/pools/none/disabled", "", &["no pool none"]).await;
}

#[tokio::test]
async fn a_pool_in_use_is_not_deleted() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/24", "fd00::/64"]).await;
    for (holder, address) in [("n1", "10.64.0.0"), ("n2", "10.64.0.16"), ("n1", "fd00::")] {
        api.lease(holder, "default", address).await.expect("leased");
    }
    api.mirror("n1", "default", "10.64.0.0", &[0, 1, 2]).await;
    api.mirror("n2", "default", "10.64.0.16", &[7]).await;
    let reasons =
        ["3 blocks are leased by n1, n2 in pool default", "coilctl pool disable default", "delete the pods"];
    api.fails(409, "DELETE", "/v1/pools/default", "", &reasons).await;
    let view = api.ok(200, "GET", "/v1/pools/default", "").await;
    assert_eq!(view["usage"][0], json!({"family": "ipv4", "blocks": 16, "leased": 2, "allocated": 4}));
    assert_eq!(view["usage"][1]["leased"], 1);
}

#[tokio::test]
async fn pools_are_paged() {
    let api = Api::new().await;
    for number in 0..7 {
        api.create(&format!("p{number}"), &[&format!("10.{number}.0.0/24")]).await;
    }
    for limit in [1, 3, 7, 8] {
        let names: Vec<_> =
            api.pages("/v1/pools", limit).await.iter().map(|pool| pool["name"].clone()).collect();
        assert_eq!(json!(names), json!(["p0", "p1", "p2", "p3", "p4", "p5", "p6"]), "{limit}");
    }
    for (query, reason) in [
        ("limit=0", "limit"),
        ("limit=5001", "not between 1 and 5000"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "\"limit\" is given twice"),
        ("continue=zz", "`continue` is not a token of this list"),
        ("continue=6e6f64652f61", "`continue` is not a token"),
        ("pool=p1", "no parameter \"pool\" here"),
    ] {
        api.fails(400, "GET", &format!("/v1/pools?{query}"), "", &[reason]).await;
    }
}
