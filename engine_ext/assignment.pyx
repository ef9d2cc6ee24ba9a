"""Optimal assignment of detections to tracks by IoU (see assignment.pxd). Only `testing_*` is visible from Python."""
import numpy as np

from libc.math cimport INFINITY, isfinite
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from engine_ext.geometry cimport iou_padded, iou_xyxy
from engine_ext.typedefs cimport f64, i32, i64


# --- memory

cdef int grow(void** buffer, size_t* size, size_t wanted) noexcept nogil:
    # Enlarges the buffer to `wanted` bytes. Without memory it returns -1 and the buffer stays as it is.
    cdef void* bigger
    if wanted <= size[0]:
        return 0
    wanted += wanted >> 1
    bigger = realloc(buffer[0], wanted)
    if bigger == NULL:
        return -1
    buffer[0] = bigger
    size[0] = wanted
    return 0


cdef void workspace_free(Workspace* work) noexcept nogil:
    free(work.cost)
    free(work.edge_start)
    free(work.edges)
    free(work.potential)
    free(work.row_potential)
    free(work.distance)
    free(work.previous)
    free(work.seen)
    free(work.frontier)
    free(work.done)
    free(work.column_row)
    free(work.row_column)
    free(work.cell_start)
    free(work.cell_tracks)
    free(work.first_cell)
    memset(work, 0, sizeof(Workspace))


cdef int reserve_solver(Workspace* work, size_t rows, size_t columns) noexcept nogil:
    cdef size_t k = rows if rows > columns else columns
    if (
        grow(<void**>&work.potential, &work.potential_size, k * sizeof(f64)) < 0
        or grow(<void**>&work.distance, &work.distance_size, k * sizeof(f64)) < 0
        or grow(<void**>&work.previous, &work.previous_size, k * sizeof(i32)) < 0
        or grow(<void**>&work.seen, &work.seen_size, k * sizeof(i32)) < 0
        or grow(<void**>&work.frontier, &work.frontier_size, k * sizeof(i32)) < 0
        or grow(<void**>&work.done, &work.done_size, k * sizeof(i32)) < 0
        or grow(<void**>&work.column_row, &work.column_row_size, k * sizeof(i32)) < 0
        or grow(<void**>&work.row_column, &work.row_column_size, k * sizeof(i32)) < 0
    ):
        return -1
    return 0


cdef int reserve_cost(Workspace* work, size_t rows, size_t columns) noexcept nogil:
    # Reserves the dense solvers' matrix and their other buffers.
    cdef size_t k = rows if rows > columns else columns
    if (
        reserve_solver(work, rows, columns) < 0
        or grow(<void**>&work.cost, &work.cost_size, rows * columns * sizeof(f64)) < 0
        or grow(<void**>&work.row_potential, &work.row_potential_size, k * sizeof(f64)) < 0
    ):
        return -1
    return 0


# --- dense solvers

cdef void solve_dense(Workspace* work, Py_ssize_t k) noexcept nogil:
    # Jonker & Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear assignment problems":
    # column reduction, reduction transfer, two rounds of augmenting row reduction, shortest augmenting paths.
    # Minimises over the k x k matrix work.cost; the result is work.row_column and its inverse work.column_row.
    cdef:
        i32* unassigned = work.frontier
        Py_ssize_t count, i
    count = reduce_columns(work, k, unassigned)
    count = reduce_rows(work, k, unassigned, count)
    count = reduce_rows(work, k, unassigned, count)
    for i in range(count):
        augment_dense(work, k, unassigned[i])


cdef void pad(f64* cost, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    # Pads the n x m matrix to a square. Any constant gives an optimum; zero breaks ties as the reference does.
    cdef Py_ssize_t k = n if n > m else m, i, j
    for i in range(n):
        for j in range(m, k):
            cost[i * k + j] = 0.0
    for i in range(n * k, k * k):
        cost[i] = 0.0


cdef Py_ssize_t reduce_columns(Workspace* work, Py_ssize_t k, i32* unassigned) noexcept nogil:
    cdef:
        const f64* cost = work.cost
        f64* potential = work.potential
        i32* row_column = work.row_column
        i32* column_row = work.column_row
        i32* contested = work.seen
        Py_ssize_t i, j, own, count = 0
        f64 least, reduced
    # Each column takes its cheapest row, the first of equals ...
    for j in range(k):
        potential[j] = cost[j]
        column_row[j] = 0
    for i in range(1, k):
        for j in range(k):
            if cost[i * k + j] < potential[j]:
                potential[j] = cost[i * k + j]
                column_row[j] = <i32>i
    # ... and keeps it if no later column asked for the same one.
    for i in range(k):
        row_column[i] = -1
        contested[i] = 0
    for j in range(k - 1, -1, -1):
        i = column_row[j]
        if row_column[i] < 0:
            row_column[i] = <i32>j
        else:
            contested[i] = 1
            column_row[j] = -1
    # A row with a single column transfers the slack of its second choice to that column.
    for i in range(k):
        own = row_column[i]
        if own < 0:
            unassigned[count] = <i32>i
            count += 1
        elif not contested[i]:
            least = INFINITY
            for j in range(k):
                reduced = cost[i * k + j] - potential[j]
                if j != own and reduced < least:
                    least = reduced
            if k > 1:
                potential[own] -= least
    return count


cdef Py_ssize_t reduce_rows(Workspace* work, Py_ssize_t k, i32* unassigned, Py_ssize_t count) noexcept nogil:
    # Each unassigned row takes its cheapest column, at a price that makes its second choice equally good. A row that
    # loses its column tries again at once if the price changed, otherwise in the next round. Returns the number of
    # rows that remain.
    cdef:
        f64* potential = work.potential
        i32* row_column = work.row_column
        i32* column_row = work.column_row
        const f64* cost
        Py_ssize_t at = 0, tries = 0, remaining = 0, i, j, first, second, loser
        f64 least, next_least, reduced, price
    while at < count:
        tries += 1
        i = unassigned[at]
        at += 1
        cost = work.cost + i * k
        first, second = 0, -1
        least, next_least = cost[0] - potential[0], INFINITY
        for j in range(1, k):
            reduced = cost[j] - potential[j]
            if reduced < next_least:
                if reduced >= least:
                    next_least, second = reduced, j
                else:
                    next_least, second = least, first
                    least, first = reduced, j
        loser = column_row[first]
        price = potential[first] - (next_least - least)
        # With rounding, rows may outbid each other forever. After enough tries prices stay, and the rest is augmented.
        if tries < at * k:
            if price < potential[first]:
                potential[first] = price
                if loser >= 0:
                    at -= 1
                    unassigned[at] = <i32>loser
            else:
                if loser >= 0 and second >= 0:
                    first = second
                    loser = column_row[second]
                if loser >= 0:
                    unassigned[remaining] = <i32>loser
                    remaining += 1
        elif loser >= 0:
            unassigned[remaining] = <i32>loser
            remaining += 1
        row_column[i] = <i32>first
        column_row[first] = <i32>i
    return remaining


cdef void augment_dense(Workspace* work, Py_ssize_t k, Py_ssize_t start) noexcept nogil:
    # Dijkstra over the columns. `order` holds the settled columns, then those at the smallest distance ([low, high)),
    # then the rest.
    cdef:
        f64* potential = work.potential
        f64* distance = work.distance
        i32* row_column = work.row_column
        i32* column_row = work.column_row
        i32* previous = work.previous
        i32* order = work.done
        const f64* cost = work.cost + start * k
        Py_ssize_t low = 0, high = 0, settled = 0, end = -1, at, i, j, swap
        f64 least = 0.0, through, reduced
    for j in range(k):
        order[j] = <i32>j
        previous[j] = <i32>start
        distance[j] = cost[j] - potential[j]
    while end < 0:
        if low == high:
            settled = low
            least = distance[order[low]]
            high = low + 1
            for at in range(high, k):
                j = order[at]
                if distance[j] <= least:
                    if distance[j] < least:
                        least = distance[j]
                        high = low
                    order[at] = order[high]
                    order[high] = <i32>j
                    high += 1
            # Of equals the last free one, as in the reference.
            for at in range(low, high):
                if column_row[order[at]] < 0:
                    end = order[at]
        while end < 0 and low < high:
            j = order[low]
            low += 1
            i = column_row[j]
            cost = work.cost + i * k
            through = cost[j] - potential[j] - least
            at = high
            while at < k:
                j = order[at]
                reduced = cost[j] - potential[j] - through
                if reduced < distance[j]:
                    distance[j] = reduced
                    previous[j] = <i32>i
                    if reduced == least:
                        if column_row[j] < 0:
                            end = j
                            break
                        order[at] = order[high]
                        order[high] = <i32>j
                        high += 1
                at += 1
    for at in range(settled):
        j = order[at]
        potential[j] += distance[j] - least
    j = end
    while True:
        i = previous[j]
        column_row[j] = <i32>i
        swap = row_column[i]
        row_column[i] = <i32>j
        j = swap
        if i == start:
            return


cdef void solve_rectangle(Workspace* work, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    # Minimises over the n x m matrix work.cost, n <= m: each row gets a column. The result is work.row_column and its
    # inverse work.column_row. Shortest augmenting paths, one row after the other (Crouse 2016, "On implementing 2D
    # rectangular assignment algorithms").
    cdef Py_ssize_t i, j
    for j in range(m):
        work.potential[j] = 0.0
        work.column_row[j] = -1
    for i in range(n):
        work.row_potential[i] = 0.0
        work.row_column[i] = -1
    for i in range(n):
        augment_rectangle(work, m, i)


cdef void augment_rectangle(Workspace* work, Py_ssize_t m, Py_ssize_t start) noexcept nogil:
    # Dijkstra from a row to the nearest free column. `open_columns` are the unsettled ones.
    cdef:
        f64* potential = work.potential
        f64* distance = work.distance
        i32* column_row = work.column_row
        i32* row_column = work.row_column
        i32* previous = work.previous
        i32* open_columns = work.frontier
        i32* settled = work.done
        const f64* cost
        Py_ssize_t waiting = m, done = 0, i = start, j, at, nearest, swap, end = -1
        f64 least = 0.0, reduced, best
    for j in range(m):
        distance[j] = INFINITY
        open_columns[j] = <i32>(m - 1 - j)
    while end < 0:
        cost = work.cost + i * m
        nearest, best = 0, INFINITY
        for at in range(waiting):
            j = open_columns[at]
            reduced = least + cost[j] - work.row_potential[i] - potential[j]
            if reduced < distance[j]:
                distance[j] = reduced
                previous[j] = <i32>i
            if distance[j] < best or (distance[j] == best and column_row[j] < 0):
                best = distance[j]
                nearest = at
        j = open_columns[nearest]
        waiting -= 1
        open_columns[nearest] = open_columns[waiting]
        least = distance[j]
        if column_row[j] < 0:
            end = j
        else:
            settled[done] = <i32>j
            done += 1
            i = column_row[j]
    work.row_potential[start] += least
    for at in range(done):
        j = settled[at]
        work.row_potential[column_row[j]] += least - distance[j]
        potential[j] -= least - distance[j]
    j = end
    while True:
        i = previous[j]
        column_row[j] = <i32>i
        swap = row_column[i]
        row_column[i] = <i32>j
        j = swap
        if i == start:
            return


# --- sparse solver

cdef bint solve_uncontested(Workspace* work, Py_ssize_t n, Py_ssize_t m, f64 least) noexcept nogil:
    # If no row and no column has two edges, and each edge gains more than `least`, takes them all and returns True.
    cdef:
        Py_ssize_t i, e
        i32 j
    for e in range(work.edge_start[n]):
        work.column_row[work.edges[e].column] = -1
    for i in range(n):
        e = work.edge_start[i]
        work.row_column[i] = -1
        if e == work.edge_start[i + 1]:
            continue
        j = work.edges[e].column
        if work.edge_start[i + 1] - e > 1 or work.column_row[j] >= 0 or not work.edges[e].gain > least:
            return False
        work.row_column[i] = j
        work.column_row[j] = <i32>i
    return True


cdef f64 gain_of(const Workspace* work, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    # The gain of a pair; 0 without an edge.
    cdef Py_ssize_t e
    for e in range(work.edge_start[row], work.edge_start[row + 1]):
        if work.edges[e].column == column:
            return work.edges[e].gain
    return 0.0


cdef void solve_sparse(Workspace* work, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    # Maximises the sum of the gains over work.edges. Besides its edges, every row has a private exit without gain, so
    # that it may stay without a column (row_column -1).
    cdef:
        f64* potential = work.potential
        Py_ssize_t i, j, e, best
        f64 least, reduced
    for j in range(m):
        potential[j] = 0.0
        work.column_row[j] = -1
        work.seen[j] = -1
    for i in range(n):
        work.row_column[i] = -1
        least, best = 0.0, -1
        for e in range(work.edge_start[i], work.edge_start[i + 1]):
            reduced = -work.edges[e].gain - potential[work.edges[e].column]
            if reduced < least:
                least, best = reduced, work.edges[e].column
        if best < 0:
            continue
        if work.column_row[best] < 0:
            work.column_row[best] = <i32>i
            work.row_column[i] = <i32>best
        else:
            augment_sparse(work, i)


cdef void augment_sparse(Workspace* work, Py_ssize_t start) noexcept nogil:
    # Dijkstra from an unassigned row to the nearest free column, or to the nearest row that gives up its column.
    cdef:
        f64* potential = work.potential
        f64* distance = work.distance
        i32* row_column = work.row_column
        i32* column_row = work.column_row
        i32* previous = work.previous
        i32* frontier = work.frontier
        i32* done = work.done
        Py_ssize_t waiting = 0, settled = 0, i = start, j, e, at, nearest, swap, end = -1, quitter = start
        i32 waiting_mark = 2 * <i32>start, done_mark = 2 * <i32>start + 1
        f64 least = 0.0, through = 0.0, reduced, quit_distance = 0.0
    while True:
        # The row's edges, at `through` less than their reduced cost ...
        for e in range(work.edge_start[i], work.edge_start[i + 1]):
            j = work.edges[e].column
            reduced = -work.edges[e].gain - potential[j] - through
            if work.seen[j] == done_mark:
                continue
            if work.seen[j] != waiting_mark:
                work.seen[j] = waiting_mark
                frontier[waiting] = <i32>j
                waiting += 1
            elif not reduced < distance[j]:
                continue
            distance[j] = reduced
            previous[j] = <i32>i
        # ... and its exit.
        if -through < quit_distance:
            quit_distance = -through
            quitter = i
        if waiting == 0:
            break
        nearest = 0
        for at in range(1, waiting):
            if distance[frontier[at]] < distance[frontier[nearest]]:
                nearest = at
        j = frontier[nearest]
        if not distance[j] < quit_distance:
            break
        least = distance[j]
        if column_row[j] < 0:
            end = j
            break
        waiting -= 1
        frontier[nearest] = frontier[waiting]
        # With rounding, a path back to a settled column may look shorter. The mark keeps the tree a tree.
        work.seen[j] = done_mark
        done[settled] = <i32>j
        settled += 1
        i = column_row[j]
        through = -work.edges[edge_of(work, i, j)].gain - potential[j] - least
    if end < 0:
        least = quit_distance
    for at in range(settled):
        j = done[at]
        potential[j] += distance[j] - least
    if end < 0:
        i = quitter
        end = row_column[i]
        row_column[i] = -1
        if i == start:
            return
    j = end
    while True:
        i = previous[j]
        column_row[j] = <i32>i
        swap = row_column[i]
        row_column[i] = <i32>j
        j = swap
        if i == start:
            return


cdef inline Py_ssize_t edge_of(const Workspace* work, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    cdef Py_ssize_t e = work.edge_start[row]
    while work.edges[e].column != column:
        e += 1
    return e


# --- pairs that overlap

ctypedef struct Grid:
    f64 left, top, per_width, per_height
    Py_ssize_t columns, rows


cdef inline Py_ssize_t cell(f64 position, Py_ssize_t count) noexcept nogil:
    # Monotone, so that a box's cells are a range. Positions outside the grid belong to its border cells.
    if not position > 0.0:
        return 0
    return <Py_ssize_t>position if position < <f64>count else count - 1


cdef Grid lay_grid(const f64* boxes, Py_ssize_t m, f64 pad) noexcept nogil:
    # Cells have the mean size of boxes, so that a box meets about four of them, however many boxes there are.
    cdef:
        Grid grid
        f64 right = -INFINITY, bottom = -INFINITY, widths = 0.0, heights = 0.0, columns, rows
        Py_ssize_t j
    grid.left = grid.top = INFINITY
    for j in range(m):
        grid.left = min(grid.left, boxes[4 * j])
        grid.top = min(grid.top, boxes[4 * j + 1])
        right = max(right, boxes[4 * j + 2] + pad)
        bottom = max(bottom, boxes[4 * j + 3] + pad)
        widths += boxes[4 * j + 2] - boxes[4 * j] + pad
        heights += boxes[4 * j + 3] - boxes[4 * j + 1] + pad
    columns = (right - grid.left) / (widths / m)
    rows = (bottom - grid.top) / (heights / m)
    # Scattered boxes must not lead to far more cells than boxes; an infinite size leads to one.
    grid.columns = grid_lines(columns, rows, m)
    grid.rows = grid_lines(rows, columns, m)
    grid.per_width = grid.columns / (right - grid.left) if grid.columns > 1 else 0.0
    grid.per_height = grid.rows / (bottom - grid.top) if grid.rows > 1 else 0.0
    return grid


cdef Py_ssize_t grid_lines(f64 wanted, f64 across, Py_ssize_t m) noexcept nogil:
    cdef f64 most = 2.0 * m / max(1.0, min(across, <f64>m)) + 1.0
    if not (wanted > 1.0 and isfinite(wanted)):
        return 1
    return <Py_ssize_t>min(wanted, most)


cdef int find_edges(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 pad
) noexcept nogil:
    # Fills edge_start and edges with all pairs of positive IoU (with pad, see iou_padded), by detection, and reserves
    # the buffers of the sparse solver. Returns -1 without memory.
    if reserve_solver(work, n, m) < 0:
        return -1
    if n * m <= FEW_PAIRS:
        return find_edges_one_by_one(work, dets, n, tracks, m, pad)
    return find_edges_by_grid(work, dets, n, tracks, m, pad)


cdef int find_edges_one_by_one(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 pad
) noexcept nogil:
    cdef:
        Py_ssize_t i, j, found = 0
        f64 iou
    if (
        grow(<void**>&work.edge_start, &work.edge_start_size, (n + 1) * sizeof(i32)) < 0
        or grow(<void**>&work.edges, &work.edges_size, n * m * sizeof(Edge)) < 0
    ):
        return -1
    for i in range(n):
        work.edge_start[i] = <i32>found
        for j in range(m):
            iou = iou_padded(dets + 4 * i, tracks + 4 * j, pad)
            if iou > 0.0:
                work.edges[found].gain = iou
                work.edges[found].column = <i32>j
                found += 1
    work.edge_start[n] = <i32>found
    return 0


cdef int find_edges_by_grid(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 pad
) noexcept nogil:
    cdef:
        Grid grid = lay_grid(tracks, m, pad)
        Py_ssize_t cells = grid.columns * grid.rows, i, j, x, y, x0, y0, x1, y1, c, at, found = 0
        f64 iou
        i32* start
    if (
        grow(<void**>&work.cell_start, &work.cell_start_size, (cells + 1) * sizeof(i32)) < 0
        or grow(<void**>&work.first_cell, &work.first_cell_size, 2 * m * sizeof(i32)) < 0
        or grow(<void**>&work.edge_start, &work.edge_start_size, (n + 1) * sizeof(i32)) < 0
    ):
        return -1
    # Counting sort of the tracks into the cells they meet: count, accumulate, place from the end.
    start = work.cell_start
    memset(start, 0, (cells + 1) * sizeof(i32))
    for j in range(m):
        x0 = cell((tracks[4 * j] - grid.left) * grid.per_width, grid.columns)
        y0 = cell((tracks[4 * j + 1] - grid.top) * grid.per_height, grid.rows)
        x1 = cell((tracks[4 * j + 2] + pad - grid.left) * grid.per_width, grid.columns)
        y1 = cell((tracks[4 * j + 3] + pad - grid.top) * grid.per_height, grid.rows)
        work.first_cell[2 * j] = <i32>x0
        work.first_cell[2 * j + 1] = <i32>y0
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                start[y * grid.columns + x] += 1
    for c in range(cells):
        start[c + 1] += start[c]
    if grow(<void**>&work.cell_tracks, &work.cell_tracks_size, start[cells] * sizeof(i32)) < 0:
        return -1
    for j in range(m - 1, -1, -1):
        x1 = cell((tracks[4 * j + 2] + pad - grid.left) * grid.per_width, grid.columns)
        y1 = cell((tracks[4 * j + 3] + pad - grid.top) * grid.per_height, grid.rows)
        for y in range(work.first_cell[2 * j + 1], y1 + 1):
            for x in range(work.first_cell[2 * j], x1 + 1):
                c = y * grid.columns + x
                start[c] -= 1
                work.cell_tracks[start[c]] = <i32>j

    for i in range(n):
        work.edge_start[i] = <i32>found
        # A row has at most m edges.
        if grow(<void**>&work.edges, &work.edges_size, (found + m) * sizeof(Edge)) < 0:
            return -1
        x0 = cell((dets[4 * i] - grid.left) * grid.per_width, grid.columns)
        y0 = cell((dets[4 * i + 1] - grid.top) * grid.per_height, grid.rows)
        x1 = cell((dets[4 * i + 2] + pad - grid.left) * grid.per_width, grid.columns)
        y1 = cell((dets[4 * i + 3] + pad - grid.top) * grid.per_height, grid.rows)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                c = y * grid.columns + x
                for at in range(start[c], start[c + 1]):
                    j = work.cell_tracks[at]
                    # A pair may meet in several cells. It counts in the one in which its intersection begins.
                    if (x != x0 and work.first_cell[2 * j] != x) or (y != y0 and work.first_cell[2 * j + 1] != y):
                        continue
                    iou = iou_padded(dets + 4 * i, tracks + 4 * j, pad)
                    if iou > 0.0:
                        work.edges[found].gain = iou
                        work.edges[found].column = <i32>j
                        found += 1
    work.edge_start[n] = <i32>found
    return 0


cdef void drop_edges_between_classes(
    Workspace* work, Py_ssize_t n, const i64* row_class, const i64* column_class
) noexcept nogil:
    cdef Py_ssize_t i, e, begin = 0, end, kept = 0
    for i in range(n):
        end = work.edge_start[i + 1]
        for e in range(begin, end):
            if column_class[work.edges[e].column] == row_class[i]:
                work.edges[kept] = work.edges[e]
                kept += 1
        begin = end
        work.edge_start[i + 1] = <i32>kept


# --- association

cdef int associate(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 threshold, i32* det_track
) noexcept nogil:
    # Sets for each detection (n x 4, xyxy) its track (m x 4, xyxy), NEVER_ASSIGNED, or BELOW_THRESHOLD if the IoU of
    # the assigned track is too low: SORT numbers new tracks of the former first. Returns -1 without memory.
    cdef Py_ssize_t i
    for i in range(n):
        det_track[i] = NEVER_ASSIGNED
    if n == 0 or m == 0:
        return 0
    if reserve_solver(work, n, m) < 0:
        return -1
    if n <= SMALL and m <= SMALL:
        return associate_small(work, dets, n, tracks, m, threshold, det_track)
    return associate_large(work, dets, n, tracks, m, threshold, det_track)


cdef int associate_small(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 threshold, i32* det_track
) noexcept nogil:
    cdef:
        Py_ssize_t k = n if n > m else m, i, j, hits = 0
        bint plain = True
        f64* cost
        f64 iou
    if grow(<void**>&work.cost, &work.cost_size, SMALL * SMALL * sizeof(f64)) < 0:
        return -1
    cost = work.cost
    for j in range(m):
        work.column_row[j] = 0
    for i in range(n):
        for j in range(m):
            iou = iou_xyxy(dets + 4 * i, tracks + 4 * j)
            cost[i * k + j] = -iou
            if iou > threshold:
                hits += 1
                plain = plain and det_track[i] < 0 and not work.column_row[j]
                det_track[i] = <i32>j
                work.column_row[j] = 1
    # Each has one candidate at most, so there is nothing to choose. (SORT then takes these pairs even if a set of pairs
    # below the threshold has a larger sum.)
    if plain and hits:
        return 0
    pad(cost, n, m)
    solve_dense(work, k)
    for i in range(n):
        j = work.row_column[i]
        if j >= m:
            det_track[i] = NEVER_ASSIGNED
        else:
            iou = -cost[i * k + j]
            det_track[i] = BELOW_THRESHOLD if iou < threshold or iou <= 0.0 else <i32>j
    return 0


cdef int associate_large(
    Workspace* work, const f64* dets, Py_ssize_t n, const f64* tracks, Py_ssize_t m, f64 threshold, i32* det_track
) noexcept nogil:
    # All unmatched detections are NEVER_ASSIGNED here: which of them an assignment over all pairs would give to a track
    # that they don't overlap is a tie, which the sparse solver doesn't break.
    cdef:
        Py_ssize_t i, e, hits = 0
        bint plain = True
        i32 j
    if find_edges_by_grid(work, dets, n, tracks, m, 0.0) < 0:
        return -1
    memset(work.column_row, 0, m * sizeof(i32))
    for i in range(n):
        for e in range(work.edge_start[i], work.edge_start[i + 1]):
            if work.edges[e].gain > threshold:
                hits += 1
                j = work.edges[e].column
                plain = plain and det_track[i] < 0 and not work.column_row[j]
                det_track[i] = j
                work.column_row[j] = 1
    if plain and hits:
        return 0
    solve_sparse(work, n, m)
    for i in range(n):
        j = work.row_column[i]
        if j >= 0 and work.edges[edge_of(work, i, j)].gain < threshold:
            j = -1
        det_track[i] = j if j >= 0 else NEVER_ASSIGNED
    return 0


# --- functions for the tests

def testing_linear_assignment(cost):
    """Run the dense solver. See assignment.pyi."""
    cdef:
        const f64[:, ::1] given = np.ascontiguousarray(cost, np.float64)
        Py_ssize_t n = given.shape[0], m = given.shape[1], k = n if n > m else m, i, j
        Workspace work
    if n == 0 or m == 0:
        return []
    memset(&work, 0, sizeof(Workspace))
    try:
        if (
            reserve_solver(&work, n, m) < 0
            or grow(<void**>&work.cost, &work.cost_size, k * k * sizeof(f64)) < 0
        ):
            raise MemoryError
        for i in range(n):
            for j in range(m):
                work.cost[i * k + j] = given[i, j]
        pad(work.cost, n, m)
        solve_dense(&work, k)
        return [(i, work.row_column[i]) for i in range(n) if work.row_column[i] < m]
    finally:
        workspace_free(&work)


def testing_rectangle_assignment(cost):
    """Run the rectangular solver. See assignment.pyi."""
    cdef:
        const f64[:, ::1] given = np.ascontiguousarray(cost, np.float64)
        Py_ssize_t n = given.shape[0], m = given.shape[1], i, j
        Workspace work
    if n > m:
        raise ValueError(f"cost must not have more rows than columns. Got shape {cost.shape}.")
    if n == 0:
        return []
    memset(&work, 0, sizeof(Workspace))
    try:
        if reserve_cost(&work, n, m) < 0:
            raise MemoryError
        for i in range(n):
            for j in range(m):
                work.cost[i * m + j] = given[i, j]
        solve_rectangle(&work, n, m)
        return [(i, work.row_column[i]) for i in range(n)]
    finally:
        workspace_free(&work)


def testing_overlaps(dets, tracks, pad):
    """Return the pairs of positive IoU. See assignment.pyi."""
    cdef:
        f64 larger = pad
        const f64[:, ::1] det_boxes = dets
        const f64[:, ::1] track_boxes = tracks
        Py_ssize_t n = det_boxes.shape[0], m = track_boxes.shape[0], i, e
        Workspace work
    if n == 0 or m == 0:
        return []
    memset(&work, 0, sizeof(Workspace))
    try:
        if find_edges_by_grid(&work, &det_boxes[0, 0], n, &track_boxes[0, 0], m, larger) < 0:
            raise MemoryError
        return [
            (i, work.edges[e].column, work.edges[e].gain)
            for i in range(n)
            for e in range(work.edge_start[i], work.edge_start[i + 1])
        ]
    finally:
        workspace_free(&work)


def testing_sparse_assignment(gain):
    """Run the sparse solver. See assignment.pyi."""
    cdef:
        const f64[:, ::1] given = np.ascontiguousarray(gain, np.float64)
        Py_ssize_t n = given.shape[0], m = given.shape[1], i, j, found = 0
        Workspace work
    if n == 0 or m == 0:
        return []
    memset(&work, 0, sizeof(Workspace))
    try:
        if (
            reserve_solver(&work, n, m) < 0
            or grow(<void**>&work.edges, &work.edges_size, n * m * sizeof(Edge)) < 0
            or grow(<void**>&work.edge_start, &work.edge_start_size, (n + 1) * sizeof(i32)) < 0
        ):
            raise MemoryError
        for i in range(n):
            work.edge_start[i] = <i32>found
            for j in range(m):
                if given[i, j] > 0.0:
                    work.edges[found].gain = given[i, j]
                    work.edges[found].column = <i32>j
                    found += 1
        work.edge_start[n] = <i32>found
        solve_sparse(&work, n, m)
        return [(i, work.row_column[i]) for i in range(n) if work.row_column[i] >= 0]
    finally:
        workspace_free(&work)


def testing_associate(dets, tracks, threshold):
    """Associate as SORT does. See assignment.pyi."""
    cdef:
        const f64[:, ::1] det_boxes = dets
        const f64[:, ::1] track_boxes = tracks
        Py_ssize_t n = det_boxes.shape[0], m = track_boxes.shape[0]
        f64 least = threshold
        i32[::1] det_track
        Workspace work
    out = np.full(n, -1, np.int32)
    if n == 0 or m == 0:
        return out
    det_track = out
    memset(&work, 0, sizeof(Workspace))
    try:
        if associate(&work, &det_boxes[0, 0], n, &track_boxes[0, 0], m, least, &det_track[0]) < 0:
            raise MemoryError
        return out
    finally:
        workspace_free(&work)
