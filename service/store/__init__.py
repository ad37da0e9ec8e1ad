"""The model store: immutable versions, and `CURRENT`, which names the served one, replaced last.

`home` says what a home of models can do, `folder` and `bucket` are the two there are, `mirror`
keeps a bucket's versions on this machine, `audit` writes down who did what, `signature` tells
whose manifest it is, `trial` is a version that gets a share of traffic before it gets all, and
`store` puts them together.
"""

from service.store.home import Home
from service.store.store import Store, open_home

__all__ = ["Home", "Store", "open_home"]
