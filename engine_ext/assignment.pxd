# Optimal assignment of detections to tracks. Exact solvers:
#
#   dense                          the Jonker-Volgenant algorithm on the whole matrix, for up to SMALL rows and columns.
#                                  It scans in the order of the paper, so that ties are broken as in the reference SORT;
#   sparse                         shortest augmenting paths over the pairs that overlap, for larger problems. The other
#                                  pairs add nothing to the sum. A search never leaves the connected component it starts
#                                  in, and stops at the first free column, or the first row that gives up its own;
#   rectangular                    shortest augmenting paths over all pairs, for trackers other than SORT.
#
# SORT only calls `associate`. The other trackers find the edges, turn their IoU into gains, solve, and read row_column.
# If a few pairs compete, they fill work.cost and use their reference's dense solver, so that ties are broken alike: the
# rectangular one scans in SciPy's order.
from engine_ext.typedefs cimport f64, i32, i64

cdef enum:
    SMALL = 64                # rows and columns of a dense problem
    FEW_PAIRS = 400           # up to this many pairs, find_edges compares each
    NEVER_ASSIGNED = -1
    BELOW_THRESHOLD = -2


ctypedef struct Edge:
    f64 gain                  # IoU, until a tracker replaces it
    i32 column


ctypedef struct Workspace:
    # Buffers grow when needed and never shrink; all are NULL and 0 at the start.
    f64* cost                 # the dense solvers' matrix
    i32* edge_start           # by row, rows + 1 values
    Edge* edges
    f64* potential            # by column
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
    i32* first_cell           # by track: column and row of the first grid cell it meets
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
