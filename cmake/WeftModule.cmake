# SPDX-License-Identifier: Apache-2.0
# weft_module(NAME SOURCES... [DEPENDS modules...] [LINK libraries...])   one folder of the library
# weft_test(NAME SOURCES... [DEPENDS modules...] [LABELS ...] [TIMEOUT s] [WAITS]) one cmocka program, run by ctest
# weft_install_tool(NAME COMPONENT)   a program that is installed with the library
#
# PROCESSORS of a test is in halves: 2 for one that computes, 1 for one that mostly waits (WAITS), for sockets, time or
# other programs. So `ctest --parallel` takes twice the machine's processors.

add_library(weft_flags INTERFACE)
target_include_directories(weft_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(weft_flags INTERFACE _GNU_SOURCE)
target_compile_options(weft_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wpointer-arith -Wwrite-strings
  -ffp-contract=off -fno-strict-aliasing
  -UNDEBUG) # assertions are about our own mistakes, and stay on in every build
if(WEFT_SANITIZE)
  target_compile_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE})
  if(CMAKE_C_COMPILER_ID MATCHES Clang) # a loop that carries checks is not vectorised, which is no fault of the loop
    target_compile_options(weft_flags INTERFACE -Wno-pass-failed)
  endif()
  # ctest reads this file first. An allocation that is too large returns NULL, as it does without a sanitizer. hwloc's
  # PCI plugin leaks; it is unloaded when the leak is found, so only a full stack, taken before, says whose it is. That
  # makes an allocation several times slower: tests that cannot load the plugin do without (weft_test).
  file(WRITE ${PROJECT_BINARY_DIR}/sanitizer_environment.cmake
    "set(ENV{ASAN_OPTIONS} allocator_may_return_null=1:fast_unwind_on_malloc=0:malloc_context_size=12)\n"
    "set(ENV{LSAN_OPTIONS} suppressions=${PROJECT_SOURCE_DIR}/cmake/leaks_of_others.txt:print_suppressions=0)\n"
    "set(ENV{TSAN_OPTIONS} allocator_may_return_null=1:halt_on_error=1)\n"
    "set(ENV{UBSAN_OPTIONS} print_stacktrace=1)\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${PROJECT_BINARY_DIR}/sanitizer_environment.cmake)
endif()
option(WEFT_FUZZ "build the fuzz targets with libFuzzer (needs clang) instead of as replays of their corpora" OFF)
if(WEFT_FUZZ)
  target_compile_options(weft_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

set_property(GLOBAL PROPERTY WEFT_MODULES "")
# What the tests of one label need, and nothing else.
add_custom_target(tests_tsan)
add_custom_target(tests_fuzz)

function(weft_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(weft_${name} STATIC ${arg_SOURCES})
  target_link_libraries(weft_${name} PRIVATE weft_flags PUBLIC Threads::Threads ${arg_LINK})
  foreach(module IN LISTS arg_DEPENDS)
    target_link_libraries(weft_${name} PUBLIC weft_${module})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY WEFT_MODULES weft_${name})
endfunction()

# Whether @p target is linked with @p sought, over whatever other targets.
function(weft_links target sought result)
  set(waiting ${target})
  set(seen "")
  while(waiting AND NOT sought IN_LIST seen)
    list(POP_FRONT waiting next)
    list(APPEND seen ${next})
    if(TARGET ${next})
      get_target_property(linked ${next} LINK_LIBRARIES)
      list(REMOVE_ITEM linked ${seen} linked-NOTFOUND)
      list(APPEND waiting ${linked})
    endif()
  endwhile()
  if(sought IN_LIST seen)
    set(${result} TRUE PARENT_SCOPE)
  else()
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# An installed tool finds the library beside it, wherever the two are moved to.
function(weft_install_tool tool component)
  file(RELATIVE_PATH library_from_tool /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(${tool} PROPERTIES INSTALL_RPATH "$ORIGIN/${library_from_tool}")
  install(TARGETS ${tool} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
endfunction()

function(weft_test name)
  if(NOT WEFT_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "WAITS" "TIMEOUT" "SOURCES;DEPENDS;LINK;LABELS" ${ARGN})
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE weft_flags cmocka ${arg_LINK})
  foreach(module IN LISTS arg_DEPENDS)
    target_link_libraries(test_${name} PRIVATE weft_${module})
  endforeach()
  add_test(NAME ${name} COMMAND test_${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(arg_WAITS)
    set(processors 1)
  else()
    set(processors 2)
  endif()
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
    PROCESSORS ${processors})
  if("tsan" IN_LIST arg_LABELS)
    add_dependencies(tests_tsan test_${name})
  endif()
  weft_links(test_${name} PkgConfig::HWLOC loads_hwloc)
  if(WEFT_SANITIZE MATCHES address AND NOT loads_hwloc)
    set_tests_properties(${name} PROPERTIES ENVIRONMENT
      "ASAN_OPTIONS=allocator_may_return_null=1:malloc_context_size=12")
  endif()
endfunction()
