"""L²M design: measure what a data set asks a model to remember, search the smallest state that keeps it.

    corpus -> information -> PowerLaw (demand) --+
                                                 +- condition -> search -> report
    space  -> architecture -> StateLaw (supply) -+                 |  `--> export
                   `--> model -> training -> Result ---------------+

The left wing learns what the data ask for, the right wing draws and builds what a model keeps; both
speak in laws of growth with context length and meet in `condition`; `advice` says what would change its
answer. Floors, from the ground:
0 laws, estimates, settings | 1 corpus, architecture, condition | 2 information, model, advice | 3 training |
4 search, report, export | 5 cli. A room imports only from floors below it.
"""

__version__ = "0.1.0"
