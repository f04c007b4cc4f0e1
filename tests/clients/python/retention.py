"""Records deleted on request and by age, through a client: what it sees of the log then."""

from checks import until
from record import equal, records

KEPT = 10


def refused(change, *words):
    """The client is told what is wrong, in these words."""
    try:
        change()
    except Exception as error:  # each library has errors of its own
        missing = [word for word in words if word not in str(error)]
        if missing:
            raise AssertionError(f"the error {error} does not name {missing}") from error
        return
    raise AssertionError("it was not refused")


def run(checks, client):
    topic = f"{client.name}-retention"
    sent = records(topic)
    end = len(sent)

    def expect(found, wanted):
        if found != wanted:
            raise AssertionError(f"{found} instead of {wanted}")

    def deletes():
        client.create(topic, 1)
        client.produce(topic, 0, sent, "all", "none")
        expect(client.delete_records(topic, 0, end - KEPT), end - KEPT)
        expect(client.ends(topic, 0), (end - KEPT, end))
        equal(client.fetch(topic, 0, end - KEPT, KEPT), sent[-KEPT:])

    def deletes_too_much():
        refused(lambda: client.delete_records(topic, 0, end + 1), client.out_of_range)
        expect(client.ends(topic, 0), (end - KEPT, end))

    def sets(replace, value):
        client.set_retention(topic, value, replace)
        expect(client.retention(topic), value)
        refused(lambda: client.set_retention(topic, "soon", replace), "retention.ms", "soon")
        expect(client.retention(topic), value)

    def expires():
        client.set_retention(topic, "1", False)
        until(lambda: client.ends(topic, 0) == (end, end))

    checks.run(f"{client.name}: records deleted on request", deletes)
    checks.run(f"{client.name}: records beyond the end are not deleted", deletes_too_much)
    checks.run(f"{client.name}: retention.ms changed", lambda: sets(False, "3600000"))
    checks.run(f"{client.name}: settings replaced", lambda: sets(True, "7200000"))
    checks.run(f"{client.name}: records removed by age", expires)
