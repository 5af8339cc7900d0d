"""What tests of several packages share. `smoothcert.testing` has what users of the library want too.

cards: model cards. certifying: a certification of known votes. issuing: certificates. networks: fixtures with
small networks. oracle: does a document prove what it claims, decided without the library. ranges: of a known
size. rows: batch order.
"""
