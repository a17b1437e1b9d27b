package trustpolicy

import (
	"encoding/binary"
	"slices"
	"strings"
)

// tracked is a pattern of a search. If fold is set, it ignores case.
type tracked struct {
	pattern
	fold bool
}

// names are the patterns that one part of a subject, or an audience, is compared
// to.
type names struct {
	patterns []tracked
	seen     map[string]bool // the patterns, so that none is there twice
	fixed    map[string]bool // the texts of those without wildcards
}

func (n *names) add(p tracked) {
	key := []byte{0}
	if p.fold {
		key[0] = 1
	}
	for _, s := range p.pattern {
		key = append(key, s.char, byte(s.kind))
	}
	if n.seen == nil {
		n.seen, n.fixed = map[string]bool{}, map[string]bool{}
	}
	if text, ok := p.literal(); ok {
		n.fixed[text] = true
	}
	if !n.seen[string(key)] {
		n.seen[string(key)] = true
		n.patterns = append(n.patterns, p)
	}
}

// usual are the characters that names are made of where a policy fixes none.
const usual = "xabcdefghijklmnopqrstuvwyz0123456789-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// inSlug are the characters of the names of teams and projects, which are in
// lower case. See https://vercel.com/docs/projects/overview.
func inSlug(c byte) bool { return inEnvironment(c) && (c < 'A' || 'Z' < c) }

// inEnvironment are those of the names of environments. Whether one can have
// upper case is not documented.
func inEnvironment(c byte) bool { return strings.IndexByte(usual, c) >= 0 }

func inAudience(byte) bool { return true }

// mostStates bounds a search, and with it what it holds in memory.
const mostStates = 1 << 13

// search finds texts that match sets of patterns. Two beginnings of texts that
// are at the same places in all patterns are one state, since they can go on in
// the same ways. So there are few states, though there are endless texts.
type search struct {
	patterns []tracked
	work     *steps
	places   []place // what step returns; the rest is of use within a call
	reached  []int
	key      []byte
	choice   []byte
}

// place is how far a text has come in a pattern.
type place struct{ pattern, at int }

// state is a text as far as it is read, and its places.
type state struct {
	text   string
	places []place
}

// all returns a shortest text for each set of the patterns that one text can
// match. The texts have allowed characters only. If the search takes too many
// steps, work is 0 afterwards.
func (n names) all(allowed func(byte) bool, work *steps) (found []string) {
	s := &search{patterns: n.patterns, work: work}
	var start state
	for i := range s.patterns {
		start.places = s.enter(start.places, i, []int{0})
	}
	seen, ended := map[string]bool{}, map[string]bool{}
	for next := []state{start}; len(next) > 0 && *work > 0; next = next[1:] {
		now := next[0]
		matched := slices.DeleteFunc(append(s.places[:0], now.places...), func(p place) bool { return p.at < len(s.patterns[p.pattern].pattern) })
		if key := s.keyOf(matched); now.text != "" && !ended[string(key)] {
			ended[string(key)] = true
			found = append(found, now.text)
		}
		for _, c := range s.choices(now.places, allowed) {
			places := s.step(now.places, c)
			if key := s.keyOf(places); s.spend(len(key)) && !seen[string(key)] {
				seen[string(key)] = true
				next = append(next, state{now.text + string([]byte{c}), slices.Clone(places)})
			}
		}
		if len(seen) > mostStates {
			*work = 0
		}
	}
	return found
}

func (s *search) keyOf(places []place) []byte {
	s.key = s.key[:0]
	for _, p := range places {
		s.key = binary.AppendUvarint(binary.AppendUvarint(s.key, uint64(p.pattern)), uint64(p.at))
	}
	return s.key
}

// spend takes steps from the budget. One costs more here than in a comparison.
func (s *search) spend(n int) bool { return s.work.spend(4 * (n + 1)) }

// choices are the next characters that lead to different states: those that a
// pattern has next, and one of the others.
func (s *search) choices(places []place, allowed func(byte) bool) []byte {
	out := s.choice[:0]
	for _, p := range places {
		pattern := s.patterns[p.pattern]
		if p.at == len(pattern.pattern) || pattern.pattern[p.at].kind != literal {
			continue
		}
		c := pattern.pattern[p.at].char
		out = append(out, c)
		if pattern.fold && 'a' <= c && c <= 'z' {
			out = append(out, c-'a'+'A')
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if i := strings.IndexFunc(usual, func(r rune) bool { return !slices.Contains(out, byte(r)) }); i >= 0 {
		out = slices.Insert(out, 0, usual[i])
	}
	s.choice = slices.DeleteFunc(out, func(c byte) bool { return !allowed(c) })
	return s.choice
}

// step returns the places after one more character.
func (s *search) step(places []place, c byte) []place {
	out, reached := s.places[:0], s.reached
	s.spend(len(places))
	for i := 0; i < len(places); {
		which := places[i].pattern
		pattern := s.patterns[which]
		reached = reached[:0]
		for ; i < len(places) && places[i].pattern == which; i++ {
			at := places[i].at
			if at == len(pattern.pattern) {
				continue
			}
			switch symbol := pattern.pattern[at]; {
			case symbol.kind == anyText:
				reached = append(reached, at)
			case symbol.kind == anyChar, symbol.char == c, pattern.fold && symbol.char == lowerASCII(string([]byte{c}))[0]:
				reached = append(reached, at+1)
			}
		}
		out = s.enter(out, which, reached)
	}
	s.places, s.reached = out, reached
	return out
}

// enter adds places in one pattern. A * matches the empty text too, so the place
// after it is reached as well. Places before the last * that was reached are left
// out: the * matches everything that they could.
func (s *search) enter(places []place, which int, reached []int) []place {
	pattern := s.patterns[which].pattern
	last := 0
	for i := 0; i < len(reached); i++ {
		if at := reached[i]; at < len(pattern) && pattern[at].kind == anyText {
			reached = append(reached, at+1)
			last = max(last, at)
		}
	}
	slices.Sort(reached)
	for _, at := range slices.Compact(reached) {
		if at >= last {
			places = append(places, place{which, at})
		}
	}
	return places
}
