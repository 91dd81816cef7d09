# A kernel set's objects share no function with other code (src/kernels/shapes.h says why).
foreach(set ${kernel_sets})
    add_test(NAME kernels_${set}_symbols COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/own_symbols.sh ${CMAKE_NM}
        $<TARGET_OBJECTS:kernels_${set}>
        COMMAND_EXPAND_LISTS)
endforeach()
