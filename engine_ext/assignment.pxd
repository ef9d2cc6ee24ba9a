# Optimal assignment of detections to tracks. Exact solvers:
#
#   up to SMALL rows and columns   the dense Jonker-Volgenant algorithm on the whole matrix, which scans in the order
#                                  of the paper, so that equally good answers are chosen as the reference SORT does;
#   above                          shortest augmenting paths on the pairs that overlap. Pairs that don't add nothing to
#                                  the sum and may be left out. A search never leaves the connected component it starts
#                                  in, and stops at the first column that is free or row that gives up its own;
#   of a rectangle                 shortest augmenting paths over all pairs, where the other trackers need them.
#
# SORT does it all with `associate`. The other trackers find the edges, make of their IoU what each gains, solve, and
# read row_column. Where pairs compete and there are few, they fill work.cost and take the dense solver that their
# reference has, so that equally good answers are chosen alike: the rectangle's scans in the order of SciPy's.
from engine_ext.typedefs cimport f64, i32, i64

cdef enum:
    SMALL = 64                # rows and columns of a dense problem
    FEW_PAIRS = 400           # so many are looked at one by one
    NEVER_ASSIGNED = -1
    BELOW_THRESHOLD = -2


ctypedef struct Edge:
    f64 gain                  # IoU, until the association makes something else of it
    i32 column


ctypedef struct Workspace:
    # Grown when needed, never shrunk; all NULL and 0 at the start.
    f64* cost                 # the dense solvers' matrix
    i32* edge_start           # of each row, rows + 1
    Edge* edges
    f64* potential            # of each column
    f64* row_potential
    f64* distance
    i32* previous
    i32* seen
    i32* frontier
    i32* done
    i32* column_row
    i32* row_column
    i32* cell_start
    i32* cell_tracks
    i32* first_cell           # column and row of the grid where each track begins
    size_t cost_size, edge_start_size, edges_size, potential_size, distance_size, previous_size, seen_size
    size_t frontier_size, done_size, column_row_size, row_column_size, cell_start_size, cell_tracks_size
    size_t first_cell_size, row_potential_size


cdef int grow(void** buffer, size_t* size, size_t wanted) noexcept nogil
cdef void workspace_free(Workspace* work) noexcept nogil
cdef int associate(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 threshold, i32* det_track
) noexcept nogil
cdef int find_edges(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 pad
) noexcept nogil
cdef void drop_edges_between_classes(
    Workspace* work, Py_ssize_t n, const i64* row_class, const i64* column_class
) noexcept nogil
cdef bint solve_uncontested(Workspace* work, Py_ssize_t n, Py_ssize_t m, f64 least) noexcept nogil
cdef void solve_sparse(Workspace* work, Py_ssize_t n, Py_ssize_t m) noexcept nogil
cdef int reserve_solver(Workspace* work, size_t rows, size_t columns) noexcept nogil
cdef int reserve_cost(Workspace* work, size_t rows, size_t columns) noexcept nogil
cdef void solve_dense(Workspace* work, Py_ssize_t k) noexcept nogil
cdef void solve_rectangle(Workspace* work, Py_ssize_t n, Py_ssize_t m) noexcept nogil
cdef f64 gain_of(const Workspace* work, Py_ssize_t row, Py_ssize_t column) noexcept nogil
