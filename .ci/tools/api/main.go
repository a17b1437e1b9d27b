// Command api prints the public names of the Go packages in the current folder
// and below: one line for each name, method and field, with its type, in an
// order that does not change. A diff of two such lists is a change of the API.
//
//	api github.com/vercelaws/vercelaws/...
package main

import (
	"fmt"
	"go/types"
	"log"
	"os"
	"sort"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	log.SetFlags(0)
	loaded, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps | packages.NeedSyntax | packages.NeedTypesInfo}, os.Args[1:]...)
	if err != nil {
		log.Fatal(err)
	}
	if packages.PrintErrors(loaded) > 0 || len(loaded) == 0 {
		log.Fatal("api: the packages do not compile, or there are none")
	}
	var lines []string
	for _, p := range loaded {
		if p.Name != "main" && !strings.Contains(p.PkgPath+"/", "/internal/") {
			lines = append(lines, names(p.Types)...)
		}
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

// names lists what a package exports.
func names(p *types.Package) []string {
	var lines []string
	// Types of the package itself are written without its path, others with it.
	qualify := types.RelativeTo(p)
	add := func(format string, args ...any) {
		lines = append(lines, p.Path()+": "+fmt.Sprintf(format, args...))
	}
	for _, name := range p.Scope().Names() {
		object := p.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		switch o := object.(type) {
		case *types.Const:
			add("const %s %s = %s", name, types.TypeString(o.Type(), qualify), o.Val().ExactString())
		case *types.TypeName:
			add("%s", typeLine(o, qualify))
			for _, member := range members(o, qualify) {
				add("%s", member)
			}
		default: // a function or a variable
			add("%s", types.ObjectString(object, qualify))
		}
	}
	return lines
}

// typeLine is the declaration of a type without its members.
func typeLine(o *types.TypeName, qualify types.Qualifier) string {
	if o.IsAlias() {
		return types.ObjectString(o, qualify)
	}
	switch o.Type().Underlying().(type) {
	case *types.Struct:
		return "type " + types.TypeString(o.Type(), qualify) + " struct"
	case *types.Interface:
		return "type " + types.TypeString(o.Type(), qualify) + " interface"
	}
	return types.ObjectString(o, qualify)
}

// members lists the fields and methods of a type, those that come from embedded
// types too.
func members(o *types.TypeName, qualify types.Qualifier) []string {
	var lines []string
	switch u := o.Type().Underlying().(type) {
	case *types.Struct:
		for i := range u.NumFields() {
			if f := u.Field(i); f.Exported() {
				lines = append(lines, fmt.Sprintf("type %s struct, %s %s", o.Name(), f.Name(), types.TypeString(f.Type(), qualify)))
			}
		}
	case *types.Interface:
		for i := range u.NumMethods() {
			if m := u.Method(i); m.Exported() {
				lines = append(lines, fmt.Sprintf("type %s interface, %s%s", o.Name(), m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), qualify), "func")))
			} else {
				lines = append(lines, fmt.Sprintf("type %s interface, methods that are not exported", o.Name()))
			}
		}
		return lines
	}
	for _, receiver := range []types.Type{o.Type(), types.NewPointer(o.Type())} {
		set := types.NewMethodSet(receiver)
		for i := range set.Len() {
			m := set.At(i).Obj()
			_, pointer := receiver.(*types.Pointer)
			if !m.Exported() || pointer && types.NewMethodSet(o.Type()).Lookup(m.Pkg(), m.Name()) != nil {
				continue
			}
			lines = append(lines, fmt.Sprintf("method (%s) %s%s", types.TypeString(receiver, qualify), m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), qualify), "func")))
		}
	}
	return lines
}
