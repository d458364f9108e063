def report() -> None:
    """later"""
