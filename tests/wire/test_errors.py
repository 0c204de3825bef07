"""An error carries its alert and a label, and shows the label."""

from proxy.wire import AlertDescription, DecodeError, TlsError


def test_decode_error_defaults_to_its_alert() -> None:
    error = DecodeError("bad_list")
    assert isinstance(error, TlsError)
    assert (error.reason, error.alert) == ("bad_list", AlertDescription.DECODE_ERROR)
    assert str(error) == "bad_list"


def test_decode_error_with_another_alert() -> None:
    error = DecodeError("duplicate_extension", AlertDescription.ILLEGAL_PARAMETER)
    assert error.alert is AlertDescription.ILLEGAL_PARAMETER
