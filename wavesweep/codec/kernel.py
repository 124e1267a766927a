"""The range coder's inner loop: the symbols of one band, bit by bit, each with a chance mixed from several contexts.

Integer arithmetic only, so that all machines code alike. Plain functions: as they stand they run on lists, and
`wavesweep.codec.compiled` compiles the same source for arrays. `docs/reference/format.md` says the same in words.

Mixing in the logistic domain is that of Mahoney's PAQ ("Adaptive weighing of context models", 2005); the arithmetic
coder is Witten, Neal and Cleary's (1987) in its carryless form.
"""

from typing import Any

# Places in `coder`: the interval's ends and the decoder's value (56 bits each), the bytes done, what it does, and
# whether the data ended too early.
LOW, HIGH, VALUE, POSITION, MODE, STATE_SIZE = 0, 1, 2, 3, 4, 5
ENCODE, DECODE = 0, 1
_MASK = (1 << 56) - 1

# Chances of a one are kept in 22 bits, and used in 16; log-odds are in 256ths of a nat.
HALF = 1 << 21
LARGEST_ODDS = 3071
# Places in `band`: its chance of a symbol that is not zero and its count, its mean magnitude less one and its count.
BAND_CHANCE, BAND_SEEN, BAND_SIZE, BAND_SIZED = 0, 1, 2, 3

# Where the contexts of each kind begin, and how many inputs and sets of weights there are.
NEAR = 0
PLACE = NEAR + 81 * 4 * 2
ODDS = PLACE + 8 * 32
CLUSTER = ODDS + 48 * 4 * 2
REFINED = CLUSTER + 24 * 7 * 4
SIGN_NEAR = REFINED + 7 * 4 * 13
SIGN_KERNEL = SIGN_NEAR + 25 + 9
SIGN_ABOVE = SIGN_KERNEL + 8
SIZE_EXPECTED = SIGN_ABOVE + 8 * 3
SIZE_NEAR = SIZE_EXPECTED + 13 * 16
SIZE_PLACE = SIZE_NEAR + 13 * 10 * 8
SIZE_BITS = SIZE_PLACE + 17 * 13 * 3
CONTEXTS = SIZE_BITS + 13 * 8
INPUTS = 8
SIGN_WEIGHTS, SIZE_WEIGHTS, WEIGHT_SETS = 9, 11, 15
# Steps of the mixed log-odds at which chances are refined.
REFINED_STEP = 512
REFINED_KNOTS = 13

# How fast weights learn, for flags, signs and sizes; and up to which count chances slow down.
_FLAG_RATE, _SIGN_RATE, _SIZE_RATE = 4, 10, 16
_MOST_SEEN, _MOST_BAND, _MOST_SIZED = 250, 1000, 60
_MOST_EXPONENT = 29
_ROUNDING = 1 << 17


def learn(chances: Any, seen: Any, context: int, bit: int, rates: Any) -> None:
    """Move a context's chance towards a bit, the less the more it has seen."""
    count = seen[context]
    chances[context] += ((bit << 22) - chances[context]) * rates[count] >> 16
    if count < _MOST_SEEN:
        seen[context] = count + 1


def mix(inputs: Any, weights: Any, first: int, count: int) -> int:
    """Log-odds: the weighted sum of those of `count` inputs."""
    total = 0
    for number in range(count):
        total += weights[first + number] * inputs[number]
    total >>= 16
    return max(-LARGEST_ODDS, min(LARGEST_ODDS, total))


def train(inputs: Any, weights: Any, first: int, count: int, error: int) -> None:
    """Move the weights along the gradient of the cost."""
    for number in range(count):
        weights[first + number] += (inputs[number] * error + _ROUNDING) >> 18


def code_bit(bit: int, chance: int, coder: Any, data: Any) -> int:
    """Encode a bit whose chance of being one is in 65,536ths, from 1 to 65,535; or decode and return it."""
    low, high = coder[LOW], coder[HIGH]
    span = high - low
    middle = low + (span >> 16) * chance + ((span & 65535) * chance >> 16)
    if coder[MODE] == DECODE:
        bit = 1 if coder[VALUE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 48 == 0:
        position = coder[POSITION]
        if coder[MODE] == DECODE:
            following = data[position + 7] if position + 7 < len(data) else 0
            coder[VALUE] = (coder[VALUE] << 8 & _MASK) | following
        elif position < len(data):
            data[position] = low >> 48
        coder[POSITION] = position + 1
        low = low << 8 & _MASK
        high = (high << 8 & _MASK) | 255
    coder[LOW], coder[HIGH] = low, high
    return bit


def sign_of(value: int) -> int:
    """-1, 0 or 1."""
    return 1 if value > 0 else -1 if value < 0 else 0


def exponent_of(value: int) -> int:
    """Floor of the binary logarithm of a number of at least 1."""
    found = 0
    while value >> (found + 1) > 0:
        found += 1
    return found


def code_band(
    symbols: Any,
    above: Any,
    rows: int,
    columns: int,
    width: int,
    area: int,
    row_chances: Any,
    column_chances: Any,
    column_seen: Any,
    column_sizes: Any,
    column_sized: Any,
    column_signs: Any,
    column_signed: Any,
    units: Any,
    band: Any,
    chances: Any,
    seen: Any,
    weights: Any,
    squash: Any,
    stretch: Any,
    rates: Any,
    inputs: Any,
    coder: Any,
    data: Any,
    observed: Any,
) -> int:
    """Code the symbols of a band, row by row.

    Args:
        symbols: flat, one for each of `rows` x `columns`; filled when decoding.
        above: magnitudes of the symbols of the parent band, at most 255 each, or none.
        rows: output units.
        columns: all other axes.
        width: of the grid that neighbouring columns lie on.
        area: of a grid, 1 without one.
        row_chances: by row, of a symbol that is not zero; -1 where nothing is known.
        column_chances: likewise by column.
        column_seen: how often each of these has learned.
        column_sizes: mean magnitude less one, in 16ths, by column.
        column_sized: how often each of these has learned.
        column_signs: chance of a negative sign, by column.
        column_signed: how often each of these has learned.
        units: activity of the unit that feeds a column, 0 to 7, or none.
        band: see `BAND_CHANCE`.
        chances: of all contexts.
        seen: how often each context has learned.
        weights: of the mixers, sets of `INPUTS`, in 65,536ths.
        squash: chance in 65,536ths, by log-odds plus `LARGEST_ODDS` + 1.
        stretch: log-odds, by chance in 65,536ths.
        rates: how far a chance moves, in 65,536ths, by count.
        inputs: room for the inputs of a mixer.
        coder: see `LOW`.
        data: bytes that are read or written; what is written beyond its end is only counted.
        observed: takes the chance of each flag, or none.

    Returns:
        0, or 1 if the data is seen not to be what encoding gives.
    """
    is_decoding, has_grid = coder[MODE] == DECODE, 1 if area > 1 else 0
    has_above, has_units, is_observed = len(above) > 0, len(units) > 0, len(observed) > 0
    for row in range(rows):
        row_chance, row_seen = row_chances[row], 0
        if row_chance < 0:
            row_chance = band[BAND_CHANCE]
        row_size, row_sized = band[BAND_SIZE], 1
        row_sign, row_signed, kernel_sign = HALF, 0, 0
        place, across = area - 1, width - 1
        for column in range(columns):
            at = row * columns + column
            place, across = place + 1, across + 1
            if across == width:
                across = 0
            if place == area:
                place = kernel_sign = 0
            # Symbols nearby that are coded already: of the grid, of the previous channel and of the previous row.
            left = north = channel = corner = other_corner = 0
            previous = symbols[at - columns] if row > 0 else 0
            if has_grid:
                if across > 0:
                    left = symbols[at - 1]
                if place >= width:
                    north = symbols[at - width]
                    if across > 0:
                        corner = symbols[at - width - 1]
                    if across < width - 1:
                        other_corner = symbols[at - width + 1]
                if column >= area:
                    channel = symbols[at - area]
            else:
                if column > 0:
                    left = symbols[at - 1]
                    if column > 1:
                        north = symbols[at - 2]
                    if row > 0:
                        corner = symbols[at - columns - 1]
                if row > 0 and column < columns - 1:
                    other_corner = symbols[at - columns + 1]
            near = min(abs(left), 2)
            parts = near
            of_north = min(abs(north), 2)
            near += 3 * of_north
            parts += of_north
            of_channel = min(abs(channel), 2)
            near += 9 * of_channel
            parts += of_channel
            of_previous = min(abs(previous), 2)
            near += 27 * of_previous
            parts += of_previous
            corners = (2 if corner != 0 else 0) + (1 if other_corner != 0 else 0)
            cluster = min(parts + (corners + 1) // 2, 6)
            parent = 1 + min(above[at], 2) if has_above else 0
            column_chance = column_chances[column]
            if column_chance < 0:
                column_chance = band[BAND_CHANCE]

            # Is it zero?
            of_row, of_column = stretch[row_chance >> 6], stretch[column_chance >> 6]
            both = of_row + of_column - stretch[band[BAND_CHANCE] >> 6]
            both = max(-LARGEST_ODDS, min(LARGEST_ODDS, both))
            class_of = (both + LARGEST_ODDS + 1) >> 7
            first = NEAR + (near * 4 + corners) * 2 + has_grid
            second = PLACE + min(place, 31) + 32 * (units[column] if has_units else 0)
            third = ODDS + (class_of * 4 + parent) * 2 + has_grid
            fourth = CLUSTER + ((class_of >> 1) * 7 + cluster) * 4 + parent
            one, two = stretch[chances[first] >> 6], stretch[chances[second] >> 6]
            three, four = stretch[chances[third] >> 6], stretch[chances[fourth] >> 6]
            count = column_seen[column]
            level = 0 if row_seen < 4 else 1 if row_seen < 24 else 2
            of_set = (3 * level + (0 if count < 3 else 1 if count < 16 else 2)) * INPUTS
            # As `mix` and `train`, but most of the time goes here.
            mixed = (
                (weights[of_set] << 8)
                + weights[of_set + 1] * of_row
                + weights[of_set + 2] * of_column
                + weights[of_set + 3] * both
                + weights[of_set + 4] * one
                + weights[of_set + 5] * two
                + weights[of_set + 6] * three
                + weights[of_set + 7] * four
            ) >> 16
            mixed = max(-LARGEST_ODDS, min(LARGEST_ODDS, mixed))
            expected = squash[mixed + LARGEST_ODDS + 1]
            step, part = (mixed + LARGEST_ODDS + 1) >> 9, (mixed + LARGEST_ODDS + 1) & 511
            refined = REFINED + (cluster * 4 + parent) * REFINED_KNOTS + step
            between = chances[refined] * (REFINED_STEP - part) + chances[refined + 1] * part
            chance = (3 * expected + (between >> 15)) >> 2
            chance = max(1, min(65535, chance))
            if is_observed:
                observed[at] = chance
            symbol = symbols[at]
            flag = code_bit(1 if symbol != 0 else 0, chance, coder, data)
            error = ((flag << 16) - expected) * _FLAG_RATE
            weights[of_set] += (256 * error + _ROUNDING) >> 18
            weights[of_set + 1] += (of_row * error + _ROUNDING) >> 18
            weights[of_set + 2] += (of_column * error + _ROUNDING) >> 18
            weights[of_set + 3] += (both * error + _ROUNDING) >> 18
            weights[of_set + 4] += (one * error + _ROUNDING) >> 18
            weights[of_set + 5] += (two * error + _ROUNDING) >> 18
            weights[of_set + 6] += (three * error + _ROUNDING) >> 18
            weights[of_set + 7] += (four * error + _ROUNDING) >> 18
            learn(chances, seen, refined if part < REFINED_STEP >> 1 else refined + 1, flag, rates)
            learn(chances, seen, first, flag, rates)
            learn(chances, seen, second, flag, rates)
            learn(chances, seen, third, flag, rates)
            learn(chances, seen, fourth, flag, rates)
            band[BAND_CHANCE] += ((flag << 22) - band[BAND_CHANCE]) * rates[band[BAND_SEEN]] >> 16
            if band[BAND_SEEN] < _MOST_BAND:
                band[BAND_SEEN] += 1
            row_chance += ((flag << 22) - row_chance) * rates[row_seen + 4] >> 16
            if row_seen < _MOST_SEEN:
                row_seen += 1
            column_chances[column] = column_chance + (((flag << 22) - column_chance) * rates[count + 1] >> 16)
            if count < _MOST_SEEN:
                column_seen[column] = count + 1
            if flag == 0:
                if is_decoding:
                    symbols[at] = 0
                    if coder[POSITION] > len(data):
                        return 1
                continue

            # Its sign.
            sum_near = sign_of(left) + sign_of(north)
            sum_corners = sign_of(corner) + sign_of(other_corner)
            kernel = max(-3, min(3, kernel_sign)) + 3 if has_grid else 7
            first = SIGN_NEAR + (sum_near + 2) * 5 + sum_corners + 2
            if not has_grid:
                first = SIGN_NEAR + 25 + (sign_of(left) + 1) * 3 + sign_of(previous) + 1
            second = SIGN_KERNEL + kernel
            third = SIGN_ABOVE + kernel * 3 + sign_of(previous) + 1
            inputs[0], inputs[1] = stretch[chances[first] >> 6], stretch[chances[second] >> 6]
            inputs[2], inputs[3] = stretch[chances[third] >> 6], stretch[row_sign >> 6]
            inputs[4] = stretch[column_signs[column] >> 6]
            of_set = (SIGN_WEIGHTS + has_grid) * INPUTS
            expected = squash[mix(inputs, weights, of_set, 5) + LARGEST_ODDS + 1]
            negative = code_bit(1 if symbol < 0 else 0, expected, coder, data)
            train(inputs, weights, of_set, 5, ((negative << 16) - expected) * _SIGN_RATE)
            learn(chances, seen, first, negative, rates)
            learn(chances, seen, second, negative, rates)
            learn(chances, seen, third, negative, rates)
            row_sign += ((negative << 22) - row_sign) * rates[row_signed + 3] >> 16
            if row_signed < _MOST_SEEN:
                row_signed += 1
            count = column_signed[column]
            column_signs[column] += ((negative << 22) - column_signs[column]) * rates[count + 3] >> 16
            if count < _MOST_SEEN:
                column_signed[column] = count + 1
            kernel_sign += 1 - 2 * negative

            # Its magnitude: how many bits it has, in unary; then those below the first.
            count = column_sized[column]
            of_column = column_sizes[column] if count > 0 else band[BAND_SIZE]
            mean = ((row_size + of_column) >> 1) + 4
            octave = exponent_of(mean)
            expected_class = min(2 * (octave - 2) + ((mean >> (octave - 1)) & 1), 15)
            if has_grid:
                number = (across > 0) + (place >= width) + (column >= area)
                nearby = (abs(left) + abs(north) + abs(channel)) * 3 // max(number, 1)
            else:
                nearby = abs(left) + abs(north) + abs(previous)
            near_class = min(exponent_of(nearby) + 1, 9) if nearby > 0 else 0
            parent = min(exponent_of(above[at] + 1) + 1, 7) if has_above else 0
            position = min(place, 15) if has_grid else 16
            cluster = 0 if parts == 0 else 1 if parts < 4 else 2
            magnitude = abs(symbol)
            exponent = exponent_of(magnitude) if not is_decoding else 0
            reached = 0
            while True:
                index = min(reached, 12)
                first = SIZE_EXPECTED + index * 16 + expected_class
                second = SIZE_NEAR + (index * 10 + near_class) * 8 + parent
                third = SIZE_PLACE + (position * 13 + index) * 3 + cluster
                inputs[0], inputs[1] = 256, stretch[chances[first] >> 6]
                inputs[2], inputs[3] = stretch[chances[second] >> 6], stretch[chances[third] >> 6]
                of_set = (SIZE_WEIGHTS + min(reached, 3)) * INPUTS
                expected = squash[mix(inputs, weights, of_set, 4) + LARGEST_ODDS + 1]
                more = code_bit(1 if exponent > reached else 0, expected, coder, data)
                train(inputs, weights, of_set, 4, ((more << 16) - expected) * _SIZE_RATE)
                learn(chances, seen, first, more, rates)
                learn(chances, seen, second, more, rates)
                learn(chances, seen, third, more, rates)
                if more == 0:
                    break
                reached += 1
                if reached > _MOST_EXPONENT:
                    return 1
            node, found = 1, 1
            for number in range(reached):
                bit = (magnitude >> (reached - 1 - number)) & 1
                if number < 3:
                    context = SIZE_BITS + min(reached, 12) * 8 + node
                    bit = code_bit(bit, max(1, min(65535, chances[context] >> 6)), coder, data)
                    learn(chances, seen, context, bit, rates)
                    node = 2 * node + bit
                else:
                    bit = code_bit(bit, 1 << 15, coder, data)
                found = 2 * found + bit
            if is_decoding:
                symbols[at] = found * (1 - 2 * negative)
                if coder[POSITION] > len(data):
                    return 1
            size = min(found - 1, 65536) * 16
            row_size += (size - row_size) * rates[row_sized + 1] >> 16
            if row_sized < _MOST_SIZED:
                row_sized += 1
            column_sizes[column] = of_column + ((size - of_column) * rates[count + 1] >> 16)
            if count < _MOST_SIZED:
                column_sized[column] = count + 1
            band[BAND_SIZE] += (size - band[BAND_SIZE]) * rates[band[BAND_SIZED]] >> 16
            if band[BAND_SIZED] < _MOST_SEEN:
                band[BAND_SIZED] += 1
        row_chances[row] = row_chance
    return 0
