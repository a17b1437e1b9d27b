package trustpolicy

import (
	"encoding/binary"
	"slices"
	"strings"
)

// part is a piece of a text: a fixed one, or a name of one character or more.
type part struct {
	fixed string
	name  func(c byte) bool // which characters the name may have; nil if fixed
}

// inName are the characters that a part of a subject may have. Vercel's own are
// letters, digits, dots, hyphens and underscores; others are taken from the
// policy.
func inName(c byte) bool { return c != ':' }

func inAudience(byte) bool { return true }

// usual are the characters that names are made of where a policy fixes none.
const usual = "xabcdefghijklmnopqrstuvwyz0123456789-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// tracked is a pattern that a search minds, with or without regard to case.
type tracked struct {
	pattern
	fold bool
}

// search walks through all texts of a form at once. What it has read of a text
// counts only by the places in the patterns that it can be at, so there are few
// states though there are endless texts.
type search struct {
	patterns []tracked
	work     *int
}

// place is how far a text has come in a pattern.
type place struct{ pattern, at int }

// state is a text as far as it is read: its places, and where it is in the
// form.
type state struct {
	before *state
	added  string // what the text has more than before
	part   int
	inside bool // a name has begun
	places []place
}

// texts calls found with one text for each set of patterns that the texts of a
// form match together, a shortest one, until it returns false. It stops where
// the work is used up.
func (s *search) texts(form []part, found func(text string) bool) {
	start := &state{}
	for i := range s.patterns {
		start.places = s.enter(start.places, i, []int{0})
	}
	seen, ended := map[string]bool{}, map[string]bool{}
	next := []*state{start}
	visit := func(n *state) {
		if key := n.key(); s.spend(len(key)) && !seen[key] {
			seen[key] = true
			next = append(next, n)
		}
	}
	for len(next) > 0 && *s.work > 0 {
		now := next[0]
		next = next[1:]
		if now.part == len(form) {
			now.places = slices.DeleteFunc(slices.Clone(now.places), func(p place) bool { return p.at < len(s.patterns[p.pattern].pattern) })
			if key := now.key(); !ended[key] {
				ended[key] = true
				if !found(now.text()) {
					return
				}
			}
			continue
		}
		p := form[now.part]
		if p.name == nil {
			after := &state{now, p.fixed, now.part + 1, false, now.places}
			for i := range len(p.fixed) {
				after.places = s.step(after.places, p.fixed[i])
			}
			visit(after)
			continue
		}
		if now.inside {
			visit(&state{now, "", now.part + 1, false, now.places})
		}
		for _, c := range s.choices(now.places, p.name) {
			visit(&state{now, string([]byte{c}), now.part, true, s.step(now.places, c)})
		}
	}
}

func (n *state) text() string {
	var all []string
	for ; n != nil; n = n.before {
		all = append(all, n.added)
	}
	slices.Reverse(all)
	return strings.Join(all, "")
}

func (n *state) key() string {
	key := []byte{byte(n.part), 0}
	if n.inside {
		key[1] = 1
	}
	for _, p := range n.places {
		key = binary.AppendUvarint(binary.AppendUvarint(key, uint64(p.pattern)), uint64(p.at))
	}
	return string(key)
}

// spend takes steps from the budget. One costs more here than in a comparison.
func (s *search) spend(steps int) bool {
	*s.work = max(0, *s.work-4*(steps+1))
	return *s.work > 0
}

// choices are the next characters that make a difference: those that a pattern
// waits for, and one of the others.
func (s *search) choices(places []place, allowed func(byte) bool) []byte {
	var out []byte
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
	return slices.DeleteFunc(out, func(c byte) bool { return !allowed(c) })
}

// step returns the places after one more character.
func (s *search) step(places []place, c byte) []place {
	out := make([]place, 0, len(places)+4)
	reached := make([]int, 0, 8)
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
	return out
}

// enter adds places in one pattern. A * may stand for nothing, so the place
// behind it is reached too; and what comes before the last * that is reached
// can match nothing that the * cannot.
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
