async def test_issue_and_check(world):
    issued = await world.issue()
    assert issued.status == 201, issued.json
    yes = await world.check(issued.json["certificate"])
    assert yes.status == 200, yes.json
