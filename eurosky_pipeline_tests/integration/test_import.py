"""A list whose accounts are known by their handles alone: looked up on real servers."""

from __future__ import annotations

from eurosky_pipeline_tests.integration.command import Finished, eurosky


def test_accounts_known_by_their_handles_are_looked_up(sandbox) -> None:
    account = eurosky("sandbox", "seed", "--records", "3", "--blobs", "1", "--json", home=sandbox.home).json
    hosts = f"{account['source_pds']},{account['destination_pds']}"
    (sandbox.home / "list.csv").write_text(
        "handle,source_pds,destination_pds,destination_password_env\n"
        f"@{account['handle'].upper()},{hosts},THE_PASSWORD\nnobody-is-called-that.test,{hosts},THE_PASSWORD\n"
    )

    def hand_in(*arguments: str) -> Finished:
        return eurosky(
            *("migrations", "import", str(sandbox.home / "list.csv"), "--json", *arguments),
            home=sandbox.home,
            THE_PASSWORD=account["destination_password"],
        )

    first = hand_in()
    assert first.exit_code == 3, first.stderr
    (rejected,) = first.json["rejected"]
    assert (first.json["added"], rejected["line"]) == (1, 3)
    assert "no server of the test network knows nobody-is-called-that.test" in rejected["reason"]
    listed = eurosky("migrations", "list", "--newer-than", "10m", "--json", home=sandbox.home).json
    (token,) = [row["token"] for row in listed if row["did"] == account["did"]]

    again = hand_in("--resolve", "--dry-run")
    assert (again.json["unchanged"], again.json["rejected"]) == (1, first.json["rejected"])
    shown = eurosky("migrations", "show", token, "--json", home=sandbox.home).json
    assert (shown["handle"], shown["state"]) == (account["handle"], "pending_repo")
